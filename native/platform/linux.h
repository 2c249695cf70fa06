// How linux.cc finds what this process may use of the machine, for tests: the least of what its affinity, its control
// group, the groups around that and the machine itself allow. Control groups of version 2 and 1 are found as the kernel
// tells
// (/proc/self/cgroup, /proc/self/mountinfo), so that systemd's slices, Slurm's steps and containers in containers
// count.
//
// `root` is put before the names of the kernel's files: tests have trees of their own.
#pragma once

#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace lateforge::platform {

// Processors in this process's affinity; any number of them. `get` is sched_getaffinity of this process.
int allowedProcessors(int (*get)(size_t bytes, cpu_set_t* set));

// Threads: processors, or fewer when a group grants less time than they have; at least 1.
int grantedThreads(const std::string& root);

// Bytes of memory.
int64_t grantedMemory(const std::string& root);

}  // namespace lateforge::platform

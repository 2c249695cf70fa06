// Settings in the environment, and what the system grants a process: on trees of files as kernels show them.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <utility>

#include "../../native/cpu/limits.h"
#include "../../native/cpu/table.h"
#include "../../native/platform/linux.h"
#include "../../native/runtime/setting.h"
#include "check.h"

namespace lateforge::testing {
namespace {

void bytes() {
  const std::pair<const char*, int64_t> fine[] = {
      {"0", 0},
      {"8000", 8000},
      {"8GB", 8'000'000'000},
      {"8gb", 8'000'000'000},
      {"512MiB", 512ll << 20},
      {"4g", 4ll << 30},
      {"4G", 4ll << 30},
      {"1.5 GiB", 3ll << 29},
      {"2k", 2048},
      {"100B", 100},
      {"1TB", 1000'000'000'000},
      {"3 TiB", 3ll << 40},
  };
  for (const auto& [text, value] : fine) CHECK(parseBytes(text) == value, "%s", text);
  for (const char* text : {"", " ", "eight", "8XB", "8GBs", "GB", "-1", "-1GB", "1e9", "0x10", "8 G B", "nan", "inf",
                           "infGB", "99999999999TB", "8GB "})
    CHECK(!parseBytes(text), "\"%s\" is no size", text);
  for (const char* text : {"", "four", "4x", "-4", "+4", "4.0", " 4", "99999999999999999999"})
    CHECK(!parseCount(text), "\"%s\" is no count", text);
  CHECK(parseCount("16") == 16, "a count");
}

void refusals() {
  char error[kErrorBytes] = "";
  const auto refused = [&](const char* name, const char* text, const char* expected, auto&& read) {
    setenv(name, text, 1);
    error[0] = 0;
    CHECK(!read(), "%s=%s", name, text);
    CHECK(std::string(error).rfind("ERR_CONFIG: ", 0) == 0 && std::strstr(error, name) &&
              std::strstr(error, (std::string("\"") + text + "\"").c_str()) && std::strstr(error, expected),
          "%s=%s: %s", name, text, error);
    setenv(name, "", 1);
    CHECK(read(), "%s empty: %s", name, error);
    unsetenv(name);
    CHECK(read(), "%s not set: %s", name, error);
  };
  for (const char* text : {"four", "99999", "0", "-2", "2.5", "2 ", "1e1"})
    refused("LATEFORGE_THREADS", text, "from 1 to 8192", [&] { return cpu::chooseIsa(error) != nullptr; });
  for (const char* text : {"avx", "AVX2", "avx1024"})
    refused("LATEFORGE_ISA", text, "portable", [&] { return cpu::chooseIsa(error) != nullptr; });
  for (const char* text : {"8", "8 apples", "-1GB", "lots"})
    refused("LATEFORGE_MEMORY_LIMIT", text, "as 8GB", [&] {
      int64_t limit;
      return readMemoryLimit(limit, error);
    });
  for (const char* text : {"yes", "2", "true"})
    refused("LATEFORGE_CUDA_SYNC", text, "1 (on)", [&] {
      bool on;
      return readFlag("LATEFORGE_CUDA_SYNC", on, error);
    });
  setenv("LATEFORGE_THREADS", "3", 1);
  int64_t threads = 0;
  CHECK(cpu::readThreads(threads, error) && threads == 3, "3 threads, not %lld", static_cast<long long>(threads));
  unsetenv("LATEFORGE_THREADS");
}

// A machine of 5,000 processors, of which the process has every second one.
int askedFor = 0;
int manyProcessors(size_t bytes, cpu_set_t* set) {
  ++askedFor;
  if (bytes * 8 < 5000) {
    errno = EINVAL;
    return -1;
  }
  for (int i = 0; i < 5000; i += 2) CPU_SET_S(i, bytes, set);
  return 0;
}

void processors() {
  CHECK(platform::allowedProcessors(manyProcessors) == 2500, "more than a cpu_set_t holds");
  CHECK(askedFor == 4, "1,024, 2,048, 4,096, 8,192: %d", askedFor);
  CHECK(platform::allowedProcessors([](size_t, cpu_set_t*) {
          errno = EPERM;
          return -1;
        }) == 1,
        "no answer is one processor");
}

// Files of a kernel below a folder of its own.
class Tree {
 public:
  Tree(std::initializer_list<std::pair<const char*, const char*>> files) {
    char name[] = "/tmp/lateforge-tree-XXXXXX";
    root = mkdtemp(name);
    for (const auto& [path, text] : files) {
      const std::filesystem::path file = root + path;
      std::filesystem::create_directories(file.parent_path());
      std::ofstream(file) << text;
    }
  }
  ~Tree() { std::filesystem::remove_all(root); }
  std::string root;
};

constexpr const char* kCgroup = "/proc/self/cgroup";
constexpr const char* kMounts = "/proc/self/mountinfo";
constexpr const char* kUnified = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr int64_t kMiB = 1 << 20;

void groups() {
  const int64_t machine = platform::grantedMemory("/nowhere");
  const int all = platform::grantedThreads("/nowhere");
  CHECK(machine > 400 * kMiB && all >= 1, "without any files: the machine, %lld bytes",
        static_cast<long long>(machine));
  {
    const Tree tree{{kCgroup, "0::/system.slice/train.service\n"},
                    {kMounts, kUnified},
                    {"/sys/fs/cgroup/system.slice/train.service/memory.max", "419430400\n"},
                    {"/sys/fs/cgroup/system.slice/train.service/cpu.max", "50000 100000\n"},
                    {"/sys/fs/cgroup/system.slice/memory.max", "max\n"}};
    CHECK(platform::grantedMemory(tree.root) == 400 * kMiB, "the limit of the own group, nested");
    CHECK(platform::grantedThreads(tree.root) == 1, "half a processor is one thread");
  }
  {
    const Tree tree{{kCgroup, "0::/a/b/c\n"},
                    {kMounts, kUnified},
                    {"/sys/fs/cgroup/a/b/c/memory.max", "max\n"},
                    {"/sys/fs/cgroup/a/b/memory.high", "209715200\n"},
                    {"/sys/fs/cgroup/a/memory.max", "314572800\n"},
                    {"/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n"},
                    {"/sys/fs/cgroup/a/cpu.max", "20000 100000\n"}};
    CHECK(platform::grantedMemory(tree.root) == 200 * kMiB, "the least along the way");
    CHECK(platform::grantedThreads(tree.root) == 1, "of processors too");
  }
  {
    // A container that sees its own part of the hierarchy only, under its path outside.
    const Tree tree{{kCgroup, "0::/docker/abc/inner\n"},
                    {kMounts, "35 24 0:30 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
                    {"/sys/fs/cgroup/memory.max", "419430400"},
                    {"/sys/fs/cgroup/inner/memory.max", "max"}};
    CHECK(platform::grantedMemory(tree.root) == 400 * kMiB, "below the root of the mount");
  }
  {
    // Moved out of the namespace's part: its own group cannot be seen, what is around it can.
    const Tree tree{{kCgroup, "0::/../other\n"}, {kMounts, kUnified}, {"/sys/fs/cgroup/memory.max", "419430400"}};
    CHECK(platform::grantedMemory(tree.root) == 400 * kMiB, "outside of what is mounted");
  }
  {
    const Tree tree{{kCgroup, "4:memory:/job/step 1\n3:cpu,cpuacct:/job\n0::/\n"},
                    {kMounts,
                     "31 24 0:27 / /sys/fs/cgroup/with\\040blank rw - cgroup cgroup rw,memory\n"
                     "32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                     "33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
                    {"/sys/fs/cgroup/with blank/job/step 1/memory.limit_in_bytes", "9223372036854771712\n"},
                    {"/sys/fs/cgroup/with blank/job/memory.limit_in_bytes", "419430400\n"},
                    {"/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "30000\n"},
                    {"/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n"},
                    {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
                    {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"}};
    CHECK(platform::grantedMemory(tree.root) == 400 * kMiB, "version 1");
    CHECK(platform::grantedThreads(tree.root) == 1, "version 1, processors");
  }
  {
    const Tree tree{{kCgroup, "0::/a\n"},
                    {kMounts, kUnified},
                    {"/sys/fs/cgroup/a/memory.max", "99999999999999999999"},
                    {"/sys/fs/cgroup/a/cpu.max", "100000000 100000"}};
    CHECK(platform::grantedMemory(tree.root) == machine, "no more than the machine has");
    CHECK(platform::grantedThreads(tree.root) == all, "nor than its processors");
  }
}

}  // namespace
}  // namespace lateforge::testing

int main() {
  using namespace lateforge::testing;
  bytes();
  refusals();
  processors();
  groups();
  return finish("surroundings");
}

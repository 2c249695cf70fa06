// What Linux has of its own: control groups, affinity, renameat2.
#include "linux.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <vector>

#include "platform.h"

namespace lateforge::platform {
namespace {

// The numbers in a file of the kernel's; "max" is no limit, and so is a file that is not there.
std::vector<double> numbersIn(const std::string& path) {
  std::vector<double> numbers;
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    char* end = nullptr;
    const double value = std::strtod(word.c_str(), &end);
    numbers.push_back(end != word.c_str() && *end == 0 ? value : std::numeric_limits<double>::infinity());
  }
  return numbers;
}

bool has(const std::string& list, const std::string& word) {
  return ("," + list + ",").find("," + word + ",") != list.npos;
}

// Names in mountinfo have octal escapes for blanks.
std::string unescaped(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
      i += 3;
    } else {
      plain += text[i];
    }
  return plain;
}

struct Mount {
  std::string root, point;
};

// Where a hierarchy is mounted: version 2's for an empty controller, else version 1's of that controller.
std::optional<Mount> mountOf(const std::string& root, const std::string& controller) {
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == line.npos) continue;
    std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
    std::string id, parent, device, type, source, options;
    Mount mount;
    before >> id >> parent >> device >> mount.root >> mount.point;
    after >> type >> source >> options;
    if (controller.empty() ? type == "cgroup2" : type == "cgroup" && has(options, controller))
      return Mount{unescaped(mount.root), unescaped(mount.point)};
  }
  return std::nullopt;
}

// Folders of the process's own group and of all groups around it that are visible, own first. Empty when the machine
// has no such hierarchy.
std::vector<std::string> groupsOf(const std::string& root, const std::string& controller) {
  std::string own;
  bool found = false;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line) && !found;) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    found = controller.empty() ? line.rfind("0::", 0) == 0 : has(controllers, controller);
    own = line.substr(second + 1);
  }
  const std::optional<Mount> mount = mountOf(root, controller);
  if (!found || !mount) return {};
  // In a container the mount may show a part of the hierarchy only; a group outside of it cannot be seen.
  std::string below;
  if (mount->root == "/")
    below = own;
  else if (own == mount->root || own.rfind(mount->root + "/", 0) == 0)
    below = own.substr(mount->root.size());
  if (below.rfind("/..", 0) == 0) below.clear();
  const std::string point = root + mount->point;
  std::vector<std::string> folders;
  while (!below.empty() && below != "/") {
    folders.push_back(point + below);
    below.resize(below.rfind('/'));
  }
  folders.push_back(point);
  return folders;
}

double least(const std::vector<std::string>& folders, const char* file) {
  double limit = std::numeric_limits<double>::infinity();
  for (const std::string& folder : folders)
    for (const double value : numbersIn(folder + "/" + file)) limit = std::min(limit, value);
  return limit;
}

// Processors' worth of time that a group grants.
double share(const std::vector<double>& quota, const std::vector<double>& period) {
  const bool limited = !quota.empty() && !period.empty() && quota[0] > 0 && period[0] > 0;
  return limited ? quota[0] / period[0] : std::numeric_limits<double>::infinity();
}

}  // namespace

int allowedProcessors(int (*get)(size_t, cpu_set_t*)) {
  // The kernel refuses a set that is smaller than its own.
  for (int most = CPU_SETSIZE; most <= 1 << 20; most *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(most));
    if (!set) return 1;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(most));
    CPU_ZERO_S(bytes, set);
    const bool fits = get(bytes, set) == 0;
    const int count = fits ? CPU_COUNT_S(bytes, set) : 0, problem = errno;
    CPU_FREE(set);
    if (fits) return std::max(1, count);
    if (problem != EINVAL) break;
  }
  return 1;
}

int grantedThreads(const std::string& root) {
  const int processors =
      allowedProcessors([](size_t bytes, cpu_set_t* set) { return sched_getaffinity(0, bytes, set); });
  double granted = processors;
  for (const std::string& folder : groupsOf(root, ""))
    if (const std::vector<double> found = numbersIn(folder + "/cpu.max"); found.size() == 2)
      granted = std::min(granted, share({found[0]}, {found[1]}));
  for (const std::string& folder : groupsOf(root, "cpu"))
    granted =
        std::min(granted, share(numbersIn(folder + "/cpu.cfs_quota_us"), numbersIn(folder + "/cpu.cfs_period_us")));
  return std::max(1, static_cast<int>(std::ceil(granted)));
}

int64_t grantedMemory(const std::string& root) {
  const double machine = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  const std::vector<std::string> unified = groupsOf(root, "");
  // Above memory.high a group is slowed down until it hardly moves.
  const double limit = std::min({machine, least(unified, "memory.max"), least(unified, "memory.high"),
                                 least(groupsOf(root, "memory"), "memory.limit_in_bytes")});
  return static_cast<int64_t>(limit);
}

int grantedThreads() { return grantedThreads(""); }
int64_t grantedMemory() { return grantedMemory(""); }

// On Linux a nice value is a thread's, and 0 means the one that calls.
bool setNice(int nice, std::string& problem) {
  if (setpriority(PRIO_PROCESS, 0, nice) == 0) return true;
  problem = std::strerror(errno);
  return false;
}

// renameat2 with RENAME_EXCHANGE: kernels have it since 3.15, the C library since 2.28.
bool exchangePaths(const std::string& a, const std::string& b, std::string& problem) {
  constexpr unsigned kExchange = 2;
  if (syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), kExchange) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) problem = std::strerror(errno);
  return false;
}

}  // namespace lateforge::platform

// The platforms that `npm run prebuild` builds for. The name is `<platform>-<arch>` of Node, as in prebuilds/, with the C
// library behind it where there are two.
'use strict'

/**
 * zig: its name of the target. glibc: the newest version of the C library that a file may ask for; RHEL 8, Debian 10 and
 * Ubuntu 20.04 have it. machine: what readelf calls the architecture.
 */
const targets = {
  'linux-x64': { platform: 'linux', arch: 'x64', libc: 'glibc', zig: 'x86_64-linux-gnu.2.28', glibc: [2, 28] },
  'linux-arm64': { platform: 'linux', arch: 'arm64', libc: 'glibc', zig: 'aarch64-linux-gnu.2.28', glibc: [2, 28] },
  'darwin-arm64': { platform: 'darwin', arch: 'arm64', zig: 'aarch64-macos' },
  'win32-x64': { platform: 'win32', arch: 'x64', zig: 'x86_64-windows-gnu' },
}

module.exports = { targets }

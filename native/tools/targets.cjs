// The platforms that `npm run prebuild` builds for. The name is `<platform>-<arch>` of Node, as in prebuilds/, with the C
// library behind it where there are two.
'use strict'
const fs = require('node:fs')
const path = require('node:path')

/**
 * zig: its name of the target. glibc: the newest version of that C library that a file may ask for; RHEL 8, Debian 10 and
 * Ubuntu 20.04 have it; none for musl.
 */
const targets = {
  'linux-x64': { platform: 'linux', arch: 'x64', libc: 'glibc', zig: 'x86_64-linux-gnu.2.28', glibc: [2, 28] },
  'linux-x64-musl': { platform: 'linux', arch: 'x64', libc: 'musl', zig: 'x86_64-linux-musl', glibc: [0, 0] },
  'linux-arm64': { platform: 'linux', arch: 'arm64', libc: 'glibc', zig: 'aarch64-linux-gnu.2.28', glibc: [2, 28] },
  'darwin-arm64': { platform: 'darwin', arch: 'arm64', zig: 'aarch64-macos' },
  'win32-x64': { platform: 'win32', arch: 'x64', zig: 'x86_64-windows-gnu' },
}

/** Where a target's files go: its folder, and those of them that are there. Both C libraries of a platform share one. */
function filesOf(name) {
  const { platform, arch, libc } = targets[name]
  const folder = path.resolve(__dirname, '../../prebuilds', `${platform}-${arch}`)
  const all = fs.existsSync(folder) ? fs.readdirSync(folder) : []
  return { folder, files: all.filter((file) => file.includes('.musl.') === (libc === 'musl')) }
}

module.exports = { filesOf, targets }

#!/usr/bin/env node
// What prebuildify runs in place of node-gyp (prebuild.cjs): the same build with the target's compiler, into the folder
// where node-gyp would put it. node-gyp itself would fetch the headers of a Node that is not needed.
'use strict'
const { spawnSync } = require('node:child_process')
const path = require('node:path')

const output = path.join(process.cwd(), 'build/Release')
const { PREBUILD_PLATFORM, PREBUILD_ARCH, PREBUILD_LIBC } = process.env
const target = `${PREBUILD_PLATFORM}-${PREBUILD_ARCH}${PREBUILD_LIBC === 'musl' ? '-musl' : ''}`
const args = [path.join(__dirname, 'cmake.cjs'), '--product', '--target', target, output]
process.exit(spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1)

#!/usr/bin/env node
import { CommanderError } from 'commander'
import { bearClosedOutput, report } from './common.js'
import { program } from './program.js'

bearClosedOutput()

try {
  await program.parseAsync()
} catch (error) {
  // Commander has written its own message; help and version are no failures.
  process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? 0 : 2) : report(error)
}

import { accessSync, constants } from 'node:fs'

/** The first of these files that is a program this process may run, or undefined. */
export const executable = (files: readonly string[]): string | undefined =>
  files.find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return true
    } catch {
      return false
    }
  })

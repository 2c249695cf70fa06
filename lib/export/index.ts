export { type ExportOptions, type ExportResult, type ExportTarget, exportIndex } from './export.js'
export type { Totals } from './target.js'

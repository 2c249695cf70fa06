import { type ExportTarget, exportIndex } from '../export/index.js'
import { isEncoded } from '../indexing/encoded.js'
import { EncodedDocuments, Index } from '../indexing/index.js'
import { size } from '../io/amounts.js'
import { interruptible, print, printCounts, printJson } from './common.js'
import { showing } from './progress.js'

/** `lateforge export <target> <folder> <out>` */
export async function exportTo(
  target: ExportTarget,
  dir: string,
  out: string,
  { name, texts, json }: { name: string; texts: boolean; json?: boolean },
): Promise<void> {
  const signal = interruptible('stopping; nothing of it is kept')
  const from = isEncoded(dir) ? await EncodedDocuments.open(dir) : await Index.open(dir)
  const result = await showing((onProgress) =>
    exportIndex(target, from, out, { name, texts, signal, onProgress }),
  ).finally(() => from instanceof Index && from.close())
  if (json) return printJson(result)
  const { documents, tokens, widened, withoutText, withoutVectors, bytes } = result
  print(`${out}: ${documents} documents, ${tokens} token vectors, ${size(bytes)}`)
  printCounts([
    [widened, 'token vectors were stored in fewer bytes and went out as float32'],
    [withoutText, 'documents went out without a text'],
    [withoutVectors, 'documents without token vectors did not go out'],
  ])
}

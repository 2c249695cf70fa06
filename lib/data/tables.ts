/** Tables of ids and texts, which rows of ids refer to: MS MARCO's collection has 8.8 million passages. */
import { basename } from 'node:path'
import { DataError } from '../errors.js'
import { KeyedTexts } from './keyed-texts.js'
import { type TableFiles, tableEntries } from './table-files.js'

export class TextTable {
  /** Of its first file, for messages. */
  readonly name: string
  /** Columns of its files that nothing reads. */
  readonly unused: ReadonlySet<string>
  private readonly texts: KeyedTexts

  private constructor(name: string, unused: ReadonlySet<string>, texts: KeyedTexts) {
    this.name = name
    this.unused = unused
    this.texts = texts
  }

  /**
   * Reads a table from .jsonl, .jsonl.gz, .parquet, .tsv and .tsv.gz files; `tableEntries` says how. `close` it.
   * @throws DataError ERR_DATA for other files or columns, or two texts of one id
   */
  static async open(
    files: readonly string[],
    options: Omit<TableFiles, 'files'> & { titles: boolean; cacheDir: string },
  ): Promise<TextTable> {
    const texts = await KeyedTexts.create(options.cacheDir)
    const unused = new Set<string>()
    try {
      for (const file of files)
        for await (const { id, text, where } of tableEntries(file, options, unused)) {
          const count = texts.size
          const entry = texts.add(id, text)
          if (entry < count && texts.textAt(entry) !== text)
            throw new DataError('ERR_DATA', `${where}: the id ${JSON.stringify(id)} has had another text before.`, {
              where,
              id,
            })
        }
      return new TextTable(basename(files[0]!), unused, texts)
    } catch (error) {
      await texts.close()
      throw error
    }
  }

  /** Number of its texts. */
  get size(): number {
    return this.texts.size
  }

  /** The text of an id. */
  get(id: string): string | undefined {
    const entry = this.texts.find(id)
    return entry < 0 ? undefined : this.texts.textAt(entry)
  }

  async close(): Promise<void> {
    await this.texts.close()
  }
}

import { KeyedTexts } from '../data/keyed-texts.js'
import type { TextRow } from '../data/rows.js'
import { DataError } from '../errors.js'
import { abortIf, Turns } from '../turns.js'

/** A row that negatives are found for. */
export interface PoolRow {
  /** Number of its query. */
  readonly query: number
  /** Number of its positive among the documents. */
  readonly positive: number
  readonly id: string | undefined
}

/**
 * Rows with their queries, and the documents to choose from. Documents have numbers by their text, in order of first
 * appearance, so that no text can be chosen twice; the texts lie in a file.
 */
export class Pool {
  readonly rows: PoolRow[] = []
  /** Texts of the queries, each once. */
  readonly queries: string[] = []
  /** Of each query: documents that are no negatives of it, namely its positives and the query itself. */
  readonly excluded: number[][] = []
  /** Rows of each query. */
  readonly rowsOf: number[][] = []
  /** Documents to choose from: those below this number. Positives that are not among them follow. */
  corpus = 0
  /** Documents with a text that came before, which are left out. */
  repeated = 0
  /** Documents without text, which are left out. */
  empty = 0
  /** Negatives that the rows had. */
  replaced = 0
  /** Columns of the rows, and scores, that are not kept. */
  readonly unusedColumns = new Set<string>()
  private readonly numbers = new Map<string, number>()
  private readonly documents: KeyedTexts

  private constructor(documents: KeyedTexts) {
    this.documents = documents
  }

  /**
   * @param corpus documents to choose from; default all those of the rows
   * @throws DataError ERR_DATA for no rows or no documents; AbortedError ERR_ABORTED
   */
  static async read(
    rows: AsyncIterable<TextRow> & { readonly name: string },
    corpus: Iterable<string> | AsyncIterable<string> | undefined,
    options: { cacheDir: string; signal: AbortSignal | undefined; reading: (done: number) => void },
  ): Promise<Pool> {
    const pool = new Pool(await KeyedTexts.create(options.cacheDir))
    const turns = new Turns()
    let read = 0
    const breathe = async (): Promise<void> => {
      read++
      if (!turns.due) return
      abortIf(options.signal)
      options.reading(read)
      await turns.take()
    }
    try {
      if (corpus) {
        for await (const text of corpus) {
          pool.addDocument(text)
          await breathe()
        }
        pool.corpus = pool.documents.size
        if (pool.corpus === 0) throw new DataError('ERR_DATA', 'the corpus has no documents.')
      }
      for await (const row of rows) {
        pool.addRow(row, corpus === undefined)
        await breathe()
      }
      if (pool.rows.length === 0)
        throw new DataError('ERR_DATA', `source "${rows.name}" has no rows.`, { source: rows.name })
      if (!corpus) pool.corpus = pool.documents.size
      for (const [query, text] of pool.queries.entries()) {
        const itself = pool.documents.find(text)
        if (itself >= 0 && !pool.excluded[query]!.includes(itself)) pool.excluded[query]!.push(itself)
      }
      return pool
    } catch (error) {
      await pool.close()
      throw error
    }
  }

  /** Number of all documents. */
  get size(): number {
    return this.documents.size
  }

  text(document: number): string {
    return this.documents.keyAt(document)
  }

  /** Texts of documents first … last - 1. */
  *texts(first: number, last: number): Generator<string> {
    for (let document = first; document < last; document++) yield this.text(document)
  }

  async close(): Promise<void> {
    await this.documents.close()
  }

  private addDocument(text: string): void {
    if (text.trim() === '') {
      this.empty++
      return
    }
    const before = this.documents.size
    if (this.documents.add(text) < before) this.repeated++
  }

  private addRow({ query: text, documents, scores, id, unused = [] }: TextRow, isCorpus: boolean): void {
    const query = this.numbers.get(text) ?? this.queries.length
    if (query === this.queries.length) {
      this.numbers.set(text, query)
      this.queries.push(text)
      this.excluded.push([])
      this.rowsOf.push([])
    }
    if (isCorpus) for (const document of documents) this.addDocument(document)
    const positive = this.documents.add(documents[0]!)
    this.replaced += documents.length - 1
    for (const name of scores ? [...unused, 'scores'] : unused) this.unusedColumns.add(name)
    if (!this.excluded[query]!.includes(positive)) this.excluded[query]!.push(positive)
    this.rowsOf[query]!.push(this.rows.length)
    this.rows.push({ query, positive, id })
  }
}

/**
 * A scorer for `rerankWithScorer` of Mastra (package `@mastra/rag`). Its interface is written out here, so that nothing of it
 * has to be installed.
 */
import type { Colbert } from '../models/colbert.js'
import { checkOptions } from '../options.js'
import { checkModel, checkText, relevance, type ScoreOptions, scoreOptions } from './scores.js'

export type { ScoreOptions, ScoreScale } from './scores.js'

/** `RelevanceScoreProvider` of @mastra/core. */
export interface RelevanceScorer {
  /** The score of a text for a query. Errors as of `Colbert.rank`. */
  getRelevanceScore(query: string, text: string): Promise<number>
}

/** A call that waits for the others of its turn. */
interface Call {
  query: string
  text: string
  resolve(score: number): void
  reject(reason: unknown): void
}

/**
 * A scorer for Mastra. Mastra asks for one text at a time but for all at once: calls that come together are encoded together,
 * each query once. It does not own `model`: dispose of that yourself.
 * @throws ArgumentError ERR_ARGUMENT
 */
export function relevanceScorer(model: Colbert, options: ScoreOptions = {}): RelevanceScorer {
  checkModel('relevanceScorer', model)
  checkOptions('relevanceScorer', options, scoreOptions)
  let waiting: Call[] = []
  const answer = async () => {
    const calls = waiting
    waiting = []
    const queries = [...new Set(calls.map(({ query }) => query))]
    const numbers = new Map(queries.map((query, number) => [query, number]))
    const documents = calls.map(({ query, text }) => ({ text, queries: [numbers.get(query)!] }))
    try {
      const scores = await relevance(model, queries, documents, options)
      for (const [i, { resolve }] of calls.entries()) resolve(scores[i]!)
    } catch (error) {
      for (const { reject } of calls) reject(error)
    }
  }
  return {
    async getRelevanceScore(query, text) {
      checkText('getRelevanceScore', 'query', query)
      checkText('getRelevanceScore', 'text', text)
      return new Promise((resolve, reject) => {
        if (waiting.push({ query, text, resolve, reject }) === 1) setImmediate(answer)
      })
    },
  }
}

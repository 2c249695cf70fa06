/** Warnings that several parts of the check give. */
import type { WarningEvent } from '../events.js'

/** What is worth knowing of a model's recipe. */
export const recipeNote = (message: string): WarningEvent => ({ type: 'warning', code: 'recipe', message, details: {} })

export function noEffect(what: string, because: string, details: { phase?: string; key: string }): WarningEvent {
  return { type: 'warning', code: 'no-effect', message: `${what} has no effect here: ${because}`, details }
}

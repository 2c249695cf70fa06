import { acceptedChanges, lengthNotes, type RecipeChange } from '../text/alignment.js'
import type { Recipe } from '../text/recipe.js'
import type { Trained } from './formats/trained.js'

const promptsOf = ({ queryPrompt, documentPrompt }: Recipe): Partial<Recipe> => ({ queryPrompt, documentPrompt })

/** The recipe that a model's weights have learned, beside the one that it goes by now. */
export class LearnedRecipe {
  /** Changes that were accepted, oldest first. */
  readonly changes: RecipeChange[]
  private recipe: Recipe | null
  private promptsKnown: boolean
  /** Optimiser steps before the last change. */
  private changedAt = 0

  /** @param recipe that of the model's folder, or of a model that was made just now */
  constructor(recipe: Recipe, { trained, promptsKnown, changes }: Trained) {
    this.recipe = trained ? recipe : null
    this.promptsKnown = promptsKnown
    this.changes = [...changes]
  }

  /**
   * What the weights have learned: `now`, if an optimiser has taken steps by it; null, if they have learned nothing yet.
   * @param updates steps that an optimiser has taken
   */
  at(now: Recipe, updates: number): Recipe | null {
    return updates > this.changedAt ? now : this.recipe
  }

  /**
   * The model goes by `next` from now on, which is `now` with what was given.
   * @throws RecipeError ERR_RECIPE for a difference from what was learned that `accept` does not name
   */
  change(now: Recipe, given: Partial<Recipe>, next: Recipe, updates: number, accept: readonly string[]): void {
    const learned = this.at(now, updates)
    if (learned) {
      this.promptsKnown ||= updates > this.changedAt
      // Prompts that nobody knows are whatever the first to know says.
      const before = this.promptsKnown ? learned : { ...learned, ...promptsOf(next) }
      this.changes.push(...acceptedChanges('the model', before, next, accept))
      const { queryLength, documentLength } = learned
      this.recipe = { ...next, queryLength, documentLength }
      this.promptsKnown ||= given.queryPrompt !== undefined && given.documentPrompt !== undefined
    }
    this.changedAt = updates
  }

  /** As of a folder. */
  toFolder(updates: number): Trained {
    const { promptsKnown, changes } = this
    return { trained: this.recipe !== null || updates > 0, promptsKnown: promptsKnown || updates > 0, changes }
  }

  /** What whoever uses the model by `now` should know. */
  notes(now: Recipe, updates: number): string[] {
    const learned = this.at(now, updates)
    if (!learned) return []
    return [
      ...(this.promptsKnown || updates > 0
        ? []
        : [
            'the model names no prompts, and may have been trained with some that its folder does not say. If you know that ' +
              "it was trained without: recipe: { queryPrompt: '', documentPrompt: '' }",
          ]),
      ...lengthNotes(learned, now),
    ]
  }
}

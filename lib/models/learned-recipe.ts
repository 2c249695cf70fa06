import { type AlignedField, acceptedChanges, lengthNotes, type RecipeChange } from '../text/alignment.js'
import { fixedRecipe, type Recipe } from '../text/recipe.js'
import type { Trained } from './formats/trained.js'

/** The recipe that a model's weights have learned, beside the one that it goes by now. */
export class LearnedRecipe {
  /** Changes that were accepted, oldest first. */
  readonly changes: RecipeChange[]
  private recipe: Recipe | null
  private unknown: readonly AlignedField[]
  /** Optimiser steps before the last change. */
  private changedAt = 0

  /** @param recipe that of the model's folder, or of a model that was made just now */
  constructor(recipe: Recipe, { trained, unknown, changes }: Trained) {
    this.recipe = trained ? fixedRecipe(recipe) : null
    this.unknown = unknown
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
      const unknown = this.unknownAt(updates)
      // What nobody knows is whatever the first to know says.
      const before = { ...learned, ...Object.fromEntries(unknown.map((field) => [field, next[field]])) }
      this.changes.push(...acceptedChanges('the model', before, next, accept))
      const { queryLength, documentLength } = learned
      this.recipe = fixedRecipe({ ...next, queryLength, documentLength })
      this.unknown = unknown.filter((field) => given[field] === undefined)
    }
    this.changedAt = updates
  }

  /** Fields of which nobody knows what was learned. Training here leaves none. */
  unknownAt(updates: number): readonly AlignedField[] {
    return updates > this.changedAt ? [] : this.unknown
  }

  /** As of a folder. */
  toFolder(updates: number): Trained {
    return { trained: this.recipe !== null || updates > 0, unknown: this.unknownAt(updates), changes: this.changes }
  }

  /** What whoever uses the model by `now` should know. */
  notes(now: Recipe, updates: number): string[] {
    const learned = this.at(now, updates)
    if (!learned) return []
    return [
      ...(!this.unknownAt(updates).some((field) => field.endsWith('Prompt'))
        ? []
        : [
            'the model names no prompts, and may have been trained with some that its folder does not say. If you know that ' +
              "it was trained without: recipe: { queryPrompt: '', documentPrompt: '' }",
          ]),
      ...lengthNotes(learned, now),
    ]
  }
}

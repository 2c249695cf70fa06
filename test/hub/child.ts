/** Fetches all of a model in a process of its own, and prints its folder. Argument: its name. */
import { Repository } from '../../lib/hub/repository.js'

const repository = await Repository.open({ type: 'model', name: process.argv[2]! })
process.stdout.write(await repository.fetch(repository.files.keys()))

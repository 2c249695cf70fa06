/** npm run matrix TARBALL */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { bareRoot } from './bare.js'
import { checkoutValues, embeds } from './consumer.js'
import { folderFor, managers, project } from './managers.js'
import { packCheckout, packDependencies, entriesOf, faultsOf } from './tarball.js'
import { nodes, prepareTools } from './tools.js'
prepareTools()
const scratch = mkdtempSync(path.join(tmpdir(), 'lateforge-matrix-'))
const tarball = packCheckout(scratch)
console.log(tarball, faultsOf(entriesOf(tarball)))
const expected = checkoutValues(scratch)
const deps = packDependencies(scratch)
for (const n of nodes) { try { const b = bareRoot(path.join(scratch, `bare-${n}`), n, [tarball, ...deps]); console.log('bare', n, embeds(b.app, b.node, expected), b.node(['node_modules/.bin/lateforge', 'doctor']).said) } catch (e) { console.log('bare', n, String(e)) } }
for (const name of Object.keys(managers)) for (const n of nodes) { const t=Date.now(); try { const f = folderFor(scratch, `${name}-${n}`); console.log(name, n, embeds(f, project(name, n, tarball, f), expected), Date.now()-t) } catch (e) { console.log(name, n, String(e)) } }
rmSync(scratch, { recursive: true, force: true })

/** What tests draw: the library's own random numbers, and normal ones. */
import { Random as Uniform } from '../lib/io/random.js'

export class Random extends Uniform {
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next())
  }
  normals(n: number, scale = 1): Float64Array {
    return Float64Array.from({ length: n }, () => this.normal() * scale)
  }
}

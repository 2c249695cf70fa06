// @ts-check
// Draws the curves of a report by uPlot: lines that differ in more than colour, bands, intervals, where phases begin; and
// reads them out by keyboard.
;(() => {
  /** @typedef {{ label: string, x: number[], y: (number | null)[], low?: (number | null)[], high?: (number | null)[], per: number }} Series */
  /** @typedef {{ title: string, unit: string, series: Series[], marks: { x: number, label: string }[], log: boolean, points: boolean }} Curve */

  const uPlot = /** @type {any} */ (globalThis).uPlot
  const data = JSON.parse(document.getElementById('page-data')?.textContent ?? '{}')
  /** @type {Record<string, Curve>} */
  let curves = data.curves ?? {}
  /** @type {Map<string, any>} */
  const drawn = new Map()
  const dashes = [[], [8, 4], [2, 3], [], [8, 4], [2, 3]]
  let printing = false

  /** @param {string} name */
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
  /** @param {string} text @param {number} share */
  const faint = (text, share) =>
    text +
    Math.round(255 * share)
      .toString(16)
      .padStart(2, '0')
  /** @param {number} value */
  const shown = (value) => {
    const size = Math.abs(value)
    if (size >= 1e3) return Math.round(value).toLocaleString('en')
    return size > 0 && size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)))
  }

  /** An axis: all its ticks written alike. @param {(number | null)[]} ticks */
  const onAxis = (ticks) => {
    const sizes = ticks.flatMap((tick) => (tick ? [Math.abs(tick)] : []))
    const tiny = Math.min(...sizes) < 1e-3
    return ticks.map((tick) => {
      if (tick === null) return ''
      const value = Number(tick.toPrecision(6))
      return tiny && value !== 0 ? value.toExponential() : value.toLocaleString('en', { maximumFractionDigits: 6 })
    })
  }

  /** The range of a logarithmic axis: from a 1, 2 or 5 to another. @param {any} _ @param {number} low @param {number} high */
  const rounded = (_, low, high) => {
    const around = (/** @type {number} */ value) =>
      [1, 2, 5, 10].map((mark) => mark * 10 ** Math.floor(Math.log10(value)))
    return [
      Math.max(...around(low).filter((mark) => mark <= low * (1 + 1e-9))),
      Math.min(...around(high).filter((mark) => mark >= high * (1 - 1e-9))),
    ]
  }

  /**
   * All lines on the same steps, each with the ends of its band.
   * @param {Curve} curve
   */
  const aligned = ({ series }) =>
    uPlot.join(
      series.map(({ x, y, low, high }) => [x, y, low ?? x.map(() => null), high ?? x.map(() => null)]),
      series.map(() => [0, 1, 1, 1]),
    )

  /** What a curve says at a point. @param {Curve} curve @param {any[]} values @param {number} at */
  const readAt = ({ series, unit, points }, values, at) => {
    const parts = series.flatMap(({ label, per }, i) => {
      const [y, low, high] = [values[1 + 3 * i][at], values[2 + 3 * i][at], values[3 + 3 * i][at]]
      if (y === null || y === undefined) return []
      const range =
        low === null || low === undefined
          ? ''
          : ` (${points ? '95 %: ' : `of ${per} steps: `}${shown(low)} to ${shown(high)})`
      return [`${series.length > 1 ? `${label} ` : ''}${shown(y)}${unit}${range}`]
    })
    return `step ${values[0][at].toLocaleString('en')}: ${parts.join('; ') || 'no value'}`
  }

  /** @param {HTMLElement} figure */
  function draw(figure) {
    const id = figure.dataset.curve ?? ''
    const curve = curves[id]
    const plot = /** @type {HTMLElement} */ (figure.querySelector('.plot'))
    const reading = /** @type {HTMLElement} */ (figure.querySelector('.reading'))
    drawn.get(id)?.destroy()
    drawn.delete(id)
    if (!curve || !plot) return
    const values = aligned(curve)
    const grid = { stroke: colour('--line'), width: 1 }
    const axis = { stroke: colour('--soft'), grid, ticks: grid, font: '12px system-ui, sans-serif' }
    // On a logarithmic scale powers of ten are enough, and where they are few their doubles and halves.
    const tens = (/** @type {any} */ _, /** @type {number[]} */ ticks) => {
      const marks = ticks[ticks.length - 1] > 200 * ticks[0] ? [1] : [1, 2, 5]
      const first = (/** @type {number} */ tick) => Math.round(tick / 10 ** Math.floor(Math.log10(tick) + 1e-6))
      return ticks.map((tick) => (marks.includes(first(tick)) ? tick : null))
    }
    const sparse = curve.log ? { filter: tens, grid: { ...grid, filter: tens }, ticks: { ...grid, filter: tens } } : {}
    const lines = curve.series.flatMap((_, i) => {
      const stroke = colour(`--c${i % 6}`)
      // The ends of a band are thin lines: a single step that stands out is too narrow to be seen as a surface.
      const edge = curve.points ? { stroke: 'transparent', width: 0 } : { stroke: faint(stroke, 0.5), width: 1 }
      const end = { scale: 'y', ...edge, points: { show: false }, spanGaps: true }
      const line = {
        scale: 'y',
        stroke,
        width: 2,
        dash: dashes[i % dashes.length],
        spanGaps: true,
        points: { show: curve.points || values[0].length === 1, size: 7, fill: stroke },
      }
      return [line, end, end]
    })
    const instance = new uPlot(
      {
        width: printing ? 320 : Math.max(200, plot.clientWidth),
        height: 225,
        cursor: { sync: { key: 'steps' }, y: false },
        legend: { show: false },
        scales: { x: { time: false }, y: curve.log ? { distr: 3, range: rounded } : {} },
        axes: [
          {
            ...axis,
            size: 30,
            label: 'step',
            labelSize: 16,
            labelGap: 0,
            labelFont: '12px system-ui, sans-serif',
            values: (/** @type {any} */ _, /** @type {number[]} */ ticks) =>
              ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString('en') : '')),
          },
          {
            ...axis,
            ...sparse,
            size: 64,
            values: (/** @type {any} */ _, /** @type {(number | null)[]} */ ticks) =>
              curve.log ? ticks.map((tick) => (tick === null ? '' : shown(tick))) : onAxis(ticks),
          },
        ],
        series: [{}, ...lines],
        bands: curve.points
          ? []
          : curve.series.map((_, i) => ({ series: [3 + 3 * i, 2 + 3 * i], fill: faint(colour(`--c${i % 6}`), 0.25) })),
        hooks: {
          draw: [
            (/** @type {any} */ u) => marks(u, curve),
            ...(curve.points ? [(/** @type {any} */ u) => intervals(u, curve)] : []),
          ],
          setCursor: [
            (/** @type {any} */ u) => {
              const at = u.cursor.idx
              reading.textContent = at === null || at === undefined ? '' : readAt(curve, values, at)
            },
          ],
        },
      },
      values,
      plot,
    )
    drawn.set(id, instance)
    byKeyboard(plot, instance, curve, values)
  }

  /** Where phases begin. @param {any} u @param {Curve} curve */
  function marks(u, { marks: all }) {
    const { ctx, bbox } = u
    const ratio = devicePixelRatio
    ctx.save()
    ctx.strokeStyle = colour('--soft')
    ctx.font = `${11 * ratio}px system-ui, sans-serif`
    ctx.textAlign = 'left'
    ctx.textBaseline = 'alphabetic'
    ctx.setLineDash([3 * ratio, 3 * ratio])
    // Labels stand in rows below each other where they are too long for one, and within the picture.
    const ends = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]
    const right = bbox.left + bbox.width
    for (const { x, label } of all) {
      const at = u.valToPos(x, 'x', true)
      if (at < bbox.left - 1 || at > right) continue
      ctx.beginPath()
      ctx.moveTo(at, bbox.top)
      ctx.lineTo(at, bbox.top + bbox.height)
      ctx.stroke()
      const { width } = ctx.measureText(label)
      const left = Math.min(at + 4 * ratio, right - width)
      const row = ends.findIndex((end) => left >= end)
      if (row < 0) continue
      const base = bbox.top + (11 + 13 * row) * ratio
      ctx.fillStyle = faint(colour('--card'), 0.8)
      ctx.fillRect(left - ratio, base - 10 * ratio, width + 2 * ratio, 13 * ratio)
      ctx.fillStyle = colour('--soft')
      ctx.fillText(label, left, base)
      ends[row] = left + width + 6 * ratio
    }
    ctx.restore()
  }

  /** Intervals of points. @param {any} u @param {Curve} curve */
  function intervals(u, { series }) {
    const { ctx } = u
    ctx.save()
    ctx.lineWidth = 1.5 * devicePixelRatio
    for (const [i, { x, low, high }] of series.entries()) {
      ctx.strokeStyle = colour(`--c${i % 6}`)
      for (const [n, step] of x.entries()) {
        if (low?.[n] == null || high?.[n] == null) continue
        const at = u.valToPos(step, 'x', true)
        const [from, to] = [u.valToPos(low[n], 'y', true), u.valToPos(high[n], 'y', true)]
        const wing = 4 * devicePixelRatio
        ctx.beginPath()
        ctx.moveTo(at, from)
        ctx.lineTo(at, to)
        for (const y of [from, to]) {
          ctx.moveTo(at - wing, y)
          ctx.lineTo(at + wing, y)
        }
        ctx.stroke()
      }
    }
    ctx.restore()
  }

  /**
   * A curve is a slider over its steps: arrows, page keys, Home and End.
   * @param {HTMLElement} plot @param {any} u @param {Curve} curve @param {any[]} values
   */
  function byKeyboard(plot, u, curve, values) {
    const last = values[0].length - 1
    const ends = curve.series.map(({ label, y }) => {
      const real = /** @type {number[]} */ (y.filter((value) => value !== null))
      return `${label}: from ${shown(real[0])} to ${shown(real[real.length - 1])}`
    })
    let at = 0
    const tell = () => {
      for (const [name, value] of Object.entries({
        valuemin: 0,
        valuemax: last,
        valuenow: at,
        valuetext: readAt(curve, values, at),
      }))
        plot.setAttribute(`aria-${name}`, String(value))
    }
    plot.tabIndex = 0
    plot.setAttribute('role', 'slider')
    plot.setAttribute('aria-label', `${curve.title}. ${ends.join('; ')}`)
    tell()
    plot.onkeydown = (event) => {
      const page = Math.max(1, Math.round(last / 10))
      const moves = {
        ArrowRight: 1,
        ArrowUp: 1,
        ArrowLeft: -1,
        ArrowDown: -1,
        PageUp: page,
        PageDown: -page,
        Home: -last,
        End: last,
      }
      const by = moves[/** @type {keyof typeof moves} */ (event.key)]
      if (by === undefined) return
      event.preventDefault()
      at = Math.min(last, Math.max(0, at + by))
      tell()
      u.setCursor({ left: u.valToPos(values[0][at], 'x'), top: 10 })
    }
  }

  /** A curve that somebody looks closer at stays as it is. @param {HTMLElement} figure */
  const lookedAt = (figure) => {
    const u = drawn.get(figure.dataset.curve ?? '')
    if (!u || !figure.contains(u.root)) return false
    const steps = u.data[0]
    return (
      figure.contains(document.activeElement) || u.scales.x.min > steps[0] || u.scales.x.max < steps[steps.length - 1]
    )
  }

  const all = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[data-curve]')])
  const drawAll = () => {
    for (const figure of all()) draw(figure)
  }
  drawAll()
  document.documentElement.dataset.drawn = String(Math.round(performance.now()))

  let width = innerWidth
  addEventListener('resize', () => {
    if (innerWidth === width) return
    width = innerWidth
    drawAll()
  })
  addEventListener('themechange', drawAll)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll)
  // On paper curves are light, whatever the screen is, and fit two beside each other.
  matchMedia('print').addEventListener('change', ({ matches }) => {
    printing = matches
    drawAll()
  })
  addEventListener('curves', (event) => {
    curves = /** @type {CustomEvent} */ (event).detail
    for (const figure of all()) if (!lookedAt(figure)) draw(figure)
  })
})()

// @ts-check
// What a page does in the browser beside its curves: the choice of light and dark, maps of tokens, and news of a run that
// goes on. All texts are set as text, never as markup; only sections that the page's own server made are markup.
;(() => {
  const data = JSON.parse(document.getElementById('page-data')?.textContent ?? '{}')

  // Light and dark: as the system has it until somebody says otherwise.
  const theme = /** @type {HTMLButtonElement | null} */ (document.getElementById('theme'))
  const system = matchMedia('(prefers-color-scheme: dark)')
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? 'dark' : 'light')) === 'dark'
  const nameTheme = () => {
    if (!theme) return
    theme.textContent = isDark() ? 'Light' : 'Dark'
    theme.setAttribute('aria-label', `${theme.textContent} colours`)
  }
  if (theme) {
    theme.hidden = false
    theme.addEventListener('click', () => {
      document.documentElement.dataset.theme = isDark() ? 'light' : 'dark'
      nameTheme()
      dispatchEvent(new Event('themechange'))
    })
  }
  system.addEventListener('change', nameTheme)
  nameTheme()

  /**
   * A map: picking a token of the query shows what each token of the documents says to it.
   * @param {HTMLElement} root
   */
  function map(root) {
    const content = data.maps[root.dataset.map ?? '']
    const buttons = /** @type {HTMLButtonElement[]} */ ([...root.querySelectorAll('button[data-query]')])
    const reading = /** @type {HTMLElement} */ (root.querySelector('.reading'))
    if (!content || buttons.length === 0) return
    const atFirst = reading.textContent
    const documents = content.documents.map((/** @type {any} */ document, /** @type {number} */ n) => ({
      ...document,
      bytes: document.similarities ? Int8Array.from(atob(document.similarities), (char) => char.charCodeAt(0)) : null,
      elements: /** @type {HTMLElement[]} */ ([...root.querySelectorAll(`[data-document="${n}"] [data-token]`)]),
    }))
    /** @type {number | null} */
    let picked = null

    /** @param {HTMLElement} element @param {number} shade */
    const shadeWith = (element, shade) => {
      element.className = element.className.replace(/ s\d+\b/, ` s${shade}`)
    }
    const rest = () => {
      for (const { elements } of documents)
        for (const element of elements) {
          shadeWith(element, Number(element.dataset.shade))
          element.classList.remove('answer')
        }
      reading.textContent = atFirst
    }
    /** @param {number} at number among the tokens that score */
    const show = (at) => {
      const said = []
      const rows = documents.map((/** @type {any} */ { bytes, scoring }) =>
        bytes ? Array.from(bytes.subarray(at * scoring.length, (at + 1) * scoring.length), (value) => value / 100) : [],
      )
      const all = rows.flat()
      const [low, high] = [Math.min(...all), Math.max(...all)]
      for (const [n, { elements, scoring, matches, tokens, name }] of documents.entries()) {
        for (const element of elements) {
          shadeWith(element, 0)
          element.classList.remove('answer')
        }
        for (const [i, token] of scoring.entries())
          if (rows[n].length > 0)
            shadeWith(elements[token], Math.round((10 * (rows[n][i] - low)) / Math.max(high - low, 1e-6)))
        const [, token, score] = matches[at]
        if (token >= 0) elements[token].classList.add('answer')
        said.push(`${name}: ${token >= 0 ? `“${tokens[token]}” ${score.toFixed(2)}` : 'nothing'}`)
      }
      const asked = content.query[Number(buttons[at].dataset.query)]
      const range = all.length > 0 ? `. Shade: similarity from ${low.toFixed(2)} to ${high.toFixed(2)}` : ''
      reading.textContent = `“${asked}” is answered by ${said.join('; ')}${range}`
    }
    /** @param {number} at @param {boolean} press */
    const choose = (at, press) => {
      for (const [i, button] of buttons.entries()) {
        button.tabIndex = i === at ? 0 : -1
        if (press) button.setAttribute('aria-pressed', String(i === at && picked !== at))
      }
      if (!press) return
      picked = picked === at ? null : at
      if (picked === null) rest()
      else show(at)
    }
    buttons[0].tabIndex = 0
    for (const [at, button] of buttons.entries()) {
      button.addEventListener('click', () => choose(at, true))
      button.addEventListener('mouseenter', () => show(at))
      button.addEventListener('mouseleave', () => (picked === null ? rest() : show(picked)))
      button.addEventListener('keydown', (event) => {
        const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key]
        if (to === undefined) return
        event.preventDefault()
        const next = (to + buttons.length) % buttons.length
        choose(next, false)
        buttons[next].focus()
      })
    }
  }
  for (const root of document.querySelectorAll('.map')) map(/** @type {HTMLElement} */ (root))

  // What is folded away is printed too, but for the numbers of curves.
  const folded = () => [...document.querySelectorAll('details:not([open])')].filter((each) => !each.closest('.curve'))
  /** @type {Element[]} */
  let opened = []
  addEventListener('beforeprint', () => {
    opened = folded()
    for (const each of opened) each.setAttribute('open', '')
  })
  addEventListener('afterprint', () => {
    for (const each of opened) each.removeAttribute('open')
  })

  if (data.live) {
    const status = document.getElementById('live')
    const source = new EventSource('events')
    source.addEventListener('news', (event) => {
      const news = JSON.parse(event.data)
      const open = new Set([...document.querySelectorAll('details[open][id]')].map(({ id }) => id))
      for (const [id, markup] of Object.entries(news.sections)) {
        const section = document.getElementById(id)
        // Whoever reads there by keyboard stays where they are.
        if (section && !section.contains(document.activeElement)) section.innerHTML = String(markup)
      }
      for (const id of open) document.getElementById(id)?.setAttribute('open', '')
      data.maps = news.maps ?? data.maps
      if (news.sections.queries)
        for (const root of document.querySelectorAll('.map')) map(/** @type {HTMLElement} */ (root))
      dispatchEvent(new CustomEvent('curves', { detail: news.curves }))
      if (status) status.textContent = `live, ${new Date().toLocaleTimeString()}`
    })
    source.addEventListener('error', () => {
      if (status) status.textContent = 'the server is gone; this is the last it said'
    })
  }
})()

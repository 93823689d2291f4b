// <scrip-balance src="EVENTS_URL"></scrip-balance>: a workspace's credits, live, in your own page.
//
// EVENTS_URL is the `events_url` of POST /v1/workspaces/{ws}/embed_tokens, whose `origins` name your site. Every change is
// also told as an event, `scrip-balance`, with the balance as its `detail`. Style it through ::part(chip), and by the
// attribute `state`: healthy, low, critical, out. It never shows a number that it does not have.

const ICONS = {
  healthy: "m5.2 8.2 2 2 3.7-4.2M14.25 8a6.25 6.25 0 1 1-12.5 0 6.25 6.25 0 0 1 12.5 0Z",
  low: "M8 2 14.6 13.6H1.4ZM8 6.4v3.4M8 11.6v.1",
  critical: "M8 4.6v4M8 11v.1M14.25 8a6.25 6.25 0 1 1-12.5 0 6.25 6.25 0 0 1 12.5 0Z",
  out: "M6.4 5.6v4.8M9.6 5.6v4.8M14.25 8a6.25 6.25 0 1 1-12.5 0 6.25 6.25 0 0 1 12.5 0Z",
};
const STYLE = `
  :host { display: inline-block; font: 600 .9375rem/1.375 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
  [part=chip] { display: inline-flex; align-items: center; gap: .4375rem; padding: .25rem .875rem; border: 1px solid #8a8a9266; border-radius: 99px; }
  svg { fill: none; stroke: currentColor; stroke-width: 1.5; stroke-linecap: round; stroke-linejoin: round; }
  :host([state=healthy]) svg { color: light-dark(#067647, #4fd0a0); }
  :host([state=low]) [part=chip] { color: light-dark(#8a5300, #f0b64a); background: light-dark(#fdf5e6, #282011); border-color: currentColor; }
  :host(:is([state=critical], [state=out])) [part=chip] { color: light-dark(#b42318, #ff8a7a); background: light-dark(#fdf0ee, #2b1816); border-color: currentColor; }
  .said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
`;

const credits = (number) => `${number.toLocaleString("en-US")} ${number === 1 ? "credit" : "credits"}`;

class ScripBalance extends HTMLElement {
  static observedAttributes = ["src"];
  #stream;
  #balance;
  #chip = document.createElement("span");
  #words = document.createElement("span");
  #path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  #said = document.createElement("span");

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, value] of [["viewBox", "0 0 16 16"], ["width", "16"], ["height", "16"], ["aria-hidden", "true"]]) icon.setAttribute(name, value);
    icon.append(this.#path);
    this.#chip.setAttribute("part", "chip");
    this.#chip.append(icon, this.#words);
    // A reader is told when the state changes, not of every credit.
    this.#said.className = "said";
    this.#said.setAttribute("role", "status");
    root.append(this.#chip, this.#said);
  }

  connectedCallback() { this.#listen(); }
  disconnectedCallback() { this.#stream?.close(); }
  attributeChangedCallback() { if (this.isConnected) this.#listen(); }

  #listen() {
    this.#stream?.close();
    this.#balance = undefined;
    this.#draw("loading");
    const src = this.getAttribute("src");
    if (!src) return;
    const stream = new EventSource(src);
    this.#stream = stream;
    stream.addEventListener("balance", (event) => {
      if (stream !== this.#stream) return;
      const before = this.#balance?.state;
      this.#balance = { ...JSON.parse(event.data), at: new Date() };
      this.#draw();
      if (before && before !== this.#balance.state) this.#said.textContent = this.#words.textContent;
      this.dispatchEvent(new CustomEvent("scrip-balance", { detail: this.#balance, bubbles: true, composed: true }));
    });
    stream.addEventListener("error", () => {
      if (stream === this.#stream) this.#draw("not known");
    });
  }

  /** Draws the balance; `lost` says what to show when there is none now. */
  #draw(lost) {
    const balance = this.#balance;
    this.#path.setAttribute("d", balance ? ICONS[balance.state] ?? "" : "");
    if (balance) this.setAttribute("state", balance.state);
    else this.removeAttribute("state");
    const state = balance && balance.state !== "healthy" ? ` · ${balance.state}` : "";
    const time = lost && balance ? ` · as of ${balance.at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}` : "";
    this.#words.textContent = balance ? credits(balance.available) + state + time : `credits ${lost}`;
  }
}

if (!customElements.get("scrip-balance")) customElements.define("scrip-balance", ScripBalance);

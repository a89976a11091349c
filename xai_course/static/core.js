// What the scripts of figures, quizzes and explorers share: window.sinb. Without scripts every page is complete.
(() => {
  "use strict";
  if (window.sinb) return;
  const $ = (selector, root) => (root || document).querySelector(selector);
  const $$ = (selector, root) => [...(root || document).querySelectorAll(selector)];

  // A new element: make("p", {className: "s-name"}, "text", child).
  const make = (tag, props, ...children) => {
    const element = Object.assign(document.createElement(tag), props || {});
    element.append(...children);
    return element;
  };

  // What a reader did, kept in the reader's browser and never sent. A page opened as a file, or in private
  // mode, may refuse it: then nothing is remembered, and all else works.
  const store = {
    get(key) { try { return JSON.parse(localStorage.getItem("sinb:" + key)); } catch { return null; } },
    set(key, value) { try { localStorage.setItem("sinb:" + key, JSON.stringify(value)); } catch { return; } },
    clear() {
      try { Object.keys(localStorage).filter(key => key.startsWith("sinb:")).forEach(key => localStorage.removeItem(key)); } catch { return; }
    },
  };

  // Read out by a screen reader, seen by nobody.
  let live, waiting;
  const say = text => {
    if (!live) {
      live = make("div", {className: "s-sr"});
      live.setAttribute("role", "status");
      document.body.append(live);
    }
    live.textContent = "";
    clearTimeout(waiting);
    waiting = setTimeout(() => { live.textContent = text; }, 60);
  };

  // Call start(element) once for every element that matches: those on the page now, and once the page is there.
  const mount = (selector, start) => {
    const mark = "mounted" + selector.replace(/\W+/g, "");
    const run = () => $$(selector).forEach(element => {
      if (element[mark]) return;
      element[mark] = true;
      start(element);
    });
    run();
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", run);
  };

  // The data beside an explorer, from its script element of class s-data.
  const data = element => JSON.parse($("script.s-data", element).textContent);

  // Numbers stored as base64: "f16" (IEEE half), "f32", "i8", "u8", "i16", "u16", or "bits" (first bit lowest).
  const half = h => {
    const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  };
  const floats = (text, kind) => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), buffer = bytes.buffer;
    const kinds = {f32: Float32Array, i8: Int8Array, u8: Uint8Array, i16: Int16Array, u16: Uint16Array};
    if (kind === "bits") return Float32Array.from({length: bytes.length * 8}, (_, i) => (bytes[i >> 3] >> (i & 7)) & 1);
    if (kind === "f16") return Float32Array.from(new Uint16Array(buffer), half);
    if (kind === "f32") return new Float32Array(buffer);
    return Float32Array.from(new kinds[kind](buffer));
  };

  window.sinb = {$, $$, make, store, say, mount, data, floats};
})();

// Numbers, maps and controls that explorers share: sinb.array, sinb.maps, sinb.controls.
(() => {
  "use strict";
  const {$, $$, floats} = window.sinb;
  if (window.sinb.maps) return;

  // What Python packed: {values, shape}. A scale belongs to each entry of the first axis.
  const array = packed => {
    const size = packed.shape.reduce((a, b) => a * b, 1), values = floats(packed.data, packed.kind).slice(0, size);
    if (packed.scale) {
      const scale = floats(packed.scale, "f32"), each = size / scale.length;
      for (let i = 0; i < size; i++) values[i] *= scale[Math.floor(i / each)];
    }
    return {values, shape: packed.shape};
  };

  // 256 colours of matplotlib's inferno and RdBu_r, three bytes each.
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const INFERNO = bytes(
    "AAAEAQAFAQEGAQEIAgEKAgIMAgIOAwIQBAMSBAMUBQQXBgQZBwUbCAUdCQYfCgciCwckDAgmDQgpDgkrEAktEQowEgoyFAs0FQs3" +
    "Fgs5GAw8GQw+GwxBHAxDHgxFHwxIIQxKIwxMJAxPJgxRKAtTKQtVKwtXLQtZLwpbMQpcMgpeNApfNglhOAliOQljOwlkPQllPglm" +
    "QApnQgpoRApoRQppRwtqSQtqSgxrTAxrTQ1sTw1sUQ5sUg5tVA9tVQ9tVxBuWRBuWhFuXBJuXRJuXxNuYRNuYhRuZBVuZRVuZxZu" +
    "aRZuahdubBhubRhubxlucRluchpudBpudRtudxxteBxteh1tfB1tfR5tfx5sgB9sgiBshCBrhSFrhyFriCJqiiJqjCNpjSNpjyRp" +
    "kCVokiVokyZnlSZnlydmmCdmmihlmylknSlknypjoCpjoitioyxhpSxgpi1gqC5fqS5eqy9erTBdrjBcsDFbsTJaszJatDNZtjRY" +
    "tzVXuTVWujZVvDdUvThTvzlSwDpRwTpQwztPxDxOxj1Nxz5MyD9LykBKy0FJzEJIzkNHz0RG0EVF0kZE00dD1EhC1UpB10s/2Ew+" +
    "2U092k4821A73VE63lI431M34FU24VY14lc041kz5Fox5Vww5l0v514u6GAt6WEr6mMq62Qp62Yo7Gcm7Wkl7mok72wj724h8G8g" +
    "8XEf8XMd8nQc83Yb83gZ9HkY9XsX9X0V9n4U9oAT94IS94QQ+IUP+IcO+IkM+YsL+YwK+Y4J+pAI+pIH+pQH+5YG+5cG+5kG+5sG" +
    "+50H/J8H/KEI/KMJ/KUK/KYM/KgN/KoP/KwR/K4S/LAU/LIW/LQY+7Ya+7gd+7of+7wh+74j+sAm+sIo+sQq+sYt+ccv+cky+cs1" +
    "+M03+M8699E999NA9tVD9tdG9dlJ9dtM9N1P9N9T9OFW8+Na8+Vd8uZh8uhl8upp8ext8e1x8e918fF58vJ98vSC8/WG8/aK9PiO" +
    "9fmS9vqW+Pua+fyd+v2h/P+k");
  const RDBU = bytes(
    "BTBhBjJkBzRnCDZqCThtCjtwDD1zDT92DkF5D0N7EEV+EUeBEkmEE0yHFE6KFVCNF1KQGFSTGVaWGliZG1qcHFyfHV+iHmGlH2Oo" +
    "IGWrImesI2mtJGquJmyvJ26wKHCxKnGyK3OzLHW0Lne1L3m1MHq2Mny3M364NIC5NoG6N4O7OIW8Ooe9O4i+PIq+Poy/P47AQI/B" +
    "QpHCQ5PDRpXESZfFTJnGT5vHUp3IVp/JWaHKXKPLX6XNYqfOZanPaKvQa6zRbq7ScbDTdbLUeLTVe7bWfrjXgbrYhLzZh77aisDb" +
    "jcLckMTdk8belsffmMjgm8ngncvhoMzios3jpc7jp9DkqdHlrNLlrtPmsdXns9bottfouNjpu9rqvdvqwNzrwt3sxd/sx+DtyuHu" +
    "zOLvz+Tv0eXw0ubw1Obx1efx1+jx2Onx2uny2+ry3evy3uvy4Ozz4e3z4+3z5O705u/05/D06fD06vH17PL17fL17/P18PT28vX2" +
    "8/X29fb39vf39/b29/X0+PTy+PPw+PLv+PHt+fDr+e/p+e7n+e3l+evj+urh+unf+uje+ufc++ba++XY++TW++PU/OLS/ODQ/N/P" +
    "/N7N/d3L/dzJ/dvH/dnE/NfC/NW//NO8+9C5+863+8y0+sqx+siv+cas+cSp+cKn+L+k+L2h+Lue97mc97eZ97WW9rOU9rGR9q+O" +
    "9ayL9aqJ9aiG9KaD86SB8qF/8Z598Jx775l57pZ37JN065Fy6o5w6Ytu6Ils5oZq5YNo5IBm435k4nti4Xhg33Ze3nNc3XBZ3G5X" +
    "22tV2mhT2GVR12NP1mBN1V1M01pK0lhJ0FVIz1JGzk9FzExEy0lCyUdByERAxkE+xT49xDs8wjg6wTY5vzM4vjA2vS01uyo0uigy" +
    "uCUxtyIwth8utBwtsxkssRgrrhcqqxYqqBUppRQpohMonxIonBEnmRAnlg8nkw4mkA0mjQwligslhwokhAkkgQgjfwgjfAcieQYi" +
    "dgUhcwQhcAMgbQIgagEfZwAf");

  // How opaque a map lies over its picture, from its share of the scale: cold places show the picture.
  // The two numbers are those of figures.py.
  const FULL_HEAT = 0.55, OPACITY = 0.85;
  const opacity = share => {
    const strength = Math.min(1, share / FULL_HEAT);
    return OPACITY * strength * strength * (3 - 2 * strength);
  };

  // [r, g, b, alpha] of a value on a scale from 0 (signed: from -top) to top.
  const colour = (value, {top = 1, signed = false, over = false} = {}) => {
    const share = Math.min(1, Math.max(signed ? -1 : 0, value / (top || 1)));
    const at = 3 * Math.min(255, Math.floor(256 * (signed ? (share + 1) / 2 : share)));
    const table = signed ? RDBU : INFERNO;
    return [table[at], table[at + 1], table[at + 2], over ? 255 * opacity(Math.abs(share)) : 255];
  };

  // A canvas in the place of a panel's picture of class heat (or of the one given), with its text alternative.
  const canvas = image => {
    const drawn = document.createElement("canvas");
    drawn.className = image.className;
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", image.alt);
    image.replaceWith(drawn);
    return drawn;
  };

  // Draw a map, one pixel of the canvas a cell (the style stretches it), and say what is to be seen.
  const paint = (drawn, values, height, width, scale, says) => {
    drawn.width = width;
    drawn.height = height;
    const context = drawn.getContext("2d"), pixels = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) pixels.data.set(colour(values[i], scale), 4 * i);
    context.putImageData(pixels, 0, 0);
    if (says) drawn.setAttribute("aria-label", says);
  };

  // A map stretched to height × width, as torch's bilinear interpolation without aligned corners does it.
  const stretch = (cells, h, w, height, width) => {
    const along = (size, count) => Array.from({length: size}, (_, i) => {
      const at = Math.max(0, (i + 0.5) * count / size - 0.5), low = Math.min(count - 1, Math.floor(at));
      return [low, Math.min(count - 1, low + 1), at - low];
    });
    const rows = along(height, h), columns = along(width, w), out = new Float64Array(height * width);
    rows.forEach(([top, bottom, v], i) => columns.forEach(([left, right, u], j) => {
      const over = cells[top * w + left] * (1 - u) + cells[top * w + right] * u;
      const under = cells[bottom * w + left] * (1 - u) + cells[bottom * w + right] * u;
      out[i * width + j] = over * (1 - v) + under * v;
    }));
    return out;
  };

  // Grey levels in [0, 1], dark on light for ink.
  const grey = (drawn, values, height, width, says, ink = false) => {
    drawn.width = width;
    drawn.height = height;
    const context = drawn.getContext("2d"), pixels = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const level = 255 * Math.min(1, Math.max(0, ink ? 1 - values[i] : values[i]));
      pixels.data.set([level, level, level, 255], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
    if (says) drawn.setAttribute("aria-label", says);
  };

  // The ends and the text of a colour bar.
  const bar = (figure, slot, low, high, label) => {
    const box = $('[data-bar="' + slot + '"]', figure), ends = $$("span", box);
    ends[0].textContent = low;
    ends[1].textContent = high;
    if (label) $("b", box).textContent = label;
  };

  // Rows of [name, per cent] as bars.
  const odds = (figure, slot, rows) => {
    const top = rows.reduce((best, r, i) => (r[1] > rows[best][1] ? i : best), 0);
    $$('[data-odds="' + slot + '"] > div', figure).forEach((row, i) => {
      row.classList.toggle("is-top", i === top);
      row.children[0].textContent = rows[i][0];
      row.children[1].style.setProperty("--p", rows[i][1]);
      row.children[2].textContent = Math.round(rows[i][1]) + " %";
    });
  };

  // A box over a panel, in shares of its width and height: x0, y0, x1, y1. Without any it is not drawn.
  const box = (panel, [x0, y0, x1, y1]) => $$(".s-over [data-moves] rect", panel).forEach(rect => {
    const at = {x: 100 * x0, y: 100 * y0, width: 100 * (x1 - x0), height: 100 * (y1 - y0)};
    Object.entries(at).forEach(([name, value]) => rect.setAttribute(name, value));
  });

  // A panel's title, its small note, and its picture's or canvas's alternative is the painter's.
  const title = (figure, slot, name, note) => {
    const panel = $('[data-panel="' + slot + '"]', figure);
    if (name !== null) $(".s-title", panel).textContent = name;
    if (note !== undefined) $(".s-name small", panel).textContent = note;
    return panel;
  };

  const say = (figure, text) => {
    const said = $(".s-said", figure);
    if (said.textContent !== text) said.textContent = text;
  };

  // Show the controls, and call change(control, value) whenever one is moved.
  // A slider shows what read[name](value) gives. Returns get(name) and set(name, value).
  const controls = (figure, change, read = {}) => {
    const find = name => $('[data-control="' + name + '"]', figure);
    const get = name => {
      const control = find(name);
      if (control.type === "range") return Number(control.value);
      if (control.getAttribute("role") === "switch") return control.getAttribute("aria-checked") === "true";
      const chosen = $("input:checked", control);
      return chosen ? chosen.value : null;
    };
    const show = control => {
      const name = control.dataset.control, text = read[name] ? read[name](Number(control.value)) : control.value;
      control.setAttribute("aria-valuetext", text);
      $("output", control.closest(".s-slide")).textContent = text;
    };
    const set = (name, value) => {
      const control = find(name);
      if (control.type === "range") { control.value = value; show(control); }
      else if (control.getAttribute("role") === "switch") control.setAttribute("aria-checked", String(value));
      else $$("input", control).forEach(input => { input.checked = input.value === String(value); });
    };
    $$("[data-control]", figure).forEach(control => {
      const name = control.dataset.control;
      if (control.type === "range") control.addEventListener("input", () => { show(control); change(name, get(name)); });
      else if (control.tagName === "BUTTON") control.addEventListener("click", () => {
        if (control.getAttribute("role") === "switch") set(name, !get(name));
        change(name, control.getAttribute("role") === "switch" ? get(name) : null);
      });
      else control.addEventListener("change", () => change(name, get(name)));
    });
    // A notebook application would take the keys for itself; Escape and P are the page's.
    figure.addEventListener("keydown", event => {
      if (!/^(escape|p)$/i.test(event.key)) event.stopPropagation();
    });
    $(".s-controls", figure).hidden = false;
    return {get, set};
  };

  // A number for a reader, with a true minus sign.
  const number = (value, places = 2) => {
    const text = Math.abs(value).toFixed(places);
    return (value < 0 && Number(text) !== 0 ? "\u2212" : "") + text;
  };

  // Draws that are the same on every machine: 32 bits of mulberry, as a share of 1.
  const random = seed => () => {
    seed = (seed + 0x6D2B79F5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const shuffled = (count, draw) => {
    const order = Array.from({length: count}, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor(draw() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  };

  Object.assign(window.sinb, {
    array, controls, number, random, shuffled,
    maps: {INFERNO, RDBU, opacity, colour, canvas, paint, stretch, grey, bar, odds, box, title, say},
  });
})();

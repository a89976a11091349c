// A quiz: choose, commit, then read why; and the veil that waits for the answer. The answers that a reader gives
// stay in the reader's browser. "sinb:answered" is told to the page with the question's name, each time.
(() => {
"use strict";
const {$, $$, make, store, say, mount} = window.sinb;

const keep = (form, said) => store.set("quiz:" + form.dataset.quiz, {version: form.dataset.version, said});
// What was said last time; nothing if the question has changed since.
const kept = form => {
  const before = store.get("quiz:" + form.dataset.quiz);
  return before && before.version === form.dataset.version ? before.said : null;
};
const answered = form => {
  form.classList.add("is-answered");
  document.dispatchEvent(new CustomEvent("sinb:answered", {detail: form.dataset.quiz}));
};

// Each reader has an order of answers of their own, the same at every visit.
const seed = () => {
  let own = store.get("seed");
  if (!Number.isInteger(own)) store.set("seed", own = Math.floor(Math.random() * 2 ** 31));
  return own;
};
const shuffled = (items, name) => {
  let state = [...name].reduce((hash, c) => Math.imul(hash ^ c.charCodeAt(0), 16777619), seed() ^ 2166136261);
  const draw = below => {
    state = state + 0x6D2B79F5 | 0;
    let t = Math.imul(state ^ state >>> 15, 1 | state);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) % below;
  };
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = draw(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
};

// The choices of a question, in the order of the quiz file.
const choices = form => {
  const options = $$(".s-opt", form);
  const brief = option => !$(".s-quiz-code", option) && $("label", option).textContent.trim().length <= 50;
  form.classList.toggle("is-brief", options.every(brief));  // they stand two in a row
  if (form.dataset.shuffle === "true") $(".s-opts", form).append(...shuffled(options, form.dataset.quiz));
  return options.map(option => {
    const input = $("input", option), feedback = $(".s-fb", option), right = feedback.dataset.correct === "true";
    return {
      input, feedback, right,
      text: $("label", option).textContent.trim(),
      mark() {
        option.classList.add(right ? "is-right" : "is-wrong");
        feedback.hidden = false;
        input.setAttribute("aria-describedby", feedback.id);
      },
      clear() {
        option.classList.remove("is-right", "is-wrong");
        feedback.hidden = true;
        input.removeAttribute("aria-describedby");
      },
    };
  });
};

const one = (form, button, note) => {
  const all = choices(form), said = [];
  const chosen = () => all.findIndex(choice => choice.input.checked);
  const commit = index => {
    const choice = all[index];
    choice.mark();
    if (!said.includes(index)) said.push(index);
    note.textContent = !choice.right ? "Choose again, or read on."
      : all.length > 2 ? "Choose another answer to see what speaks against it." : "";
    button.disabled = true;
  };
  form.addEventListener("change", () => {
    button.disabled = said.includes(chosen());
    button.textContent = said.length ? "See why" : "Commit";
    if (!said.length) note.textContent = "You can still change your mind.";
  });
  form.addEventListener("submit", () => {
    const index = chosen();
    if (index < 0) return;
    commit(index);
    keep(form, said);
    say(all[index].feedback.textContent);
    all[index].input.focus({preventScroll: true});
    answered(form);
  });
  const before = kept(form);
  if (!Array.isArray(before) || !before.length || !before.every(index => all[index])) return;
  before.forEach(commit);
  all[before[before.length - 1]].input.checked = true;
  answered(form);
};

const count = (n, word) => n + " " + word + (n === 1 ? "" : "s");

const several = (form, button, note) => {
  const all = choices(form);
  let committed = "";
  const chosen = () => all.map((choice, i) => choice.input.checked ? i : -1).filter(i => i >= 0);
  const commit = indices => {
    all.forEach((choice, i) => indices.includes(i) ? choice.mark() : choice.clear());
    committed = indices.join();
    button.disabled = true;
    const wrong = indices.filter(i => !all[i].right).map(i => all[i].text);
    const missing = all.filter((choice, i) => choice.right && !indices.includes(i)).length;
    const parts = [];
    if (wrong.length) parts.push(wrong.length + " of your " + count(indices.length, "choice") + (wrong.length === 1 ? " is" : " are") + " wrong, marked \u2717.");
    if (missing) parts.push(count(missing, "right answer") + (missing === 1 ? " is" : " are") + " missing.");
    note.textContent = parts.join(" ") || "All right: " + (indices.length === 1 ? "this one" : "these " + indices.length) + ", and no other.";
    return note.textContent + (wrong.length ? " Wrong: " + wrong.join("; ") + "." : "");
  };
  form.addEventListener("change", event => {
    const toggled = all.find(choice => choice.input === event.target);
    if (toggled && !toggled.input.checked) toggled.clear();
    button.disabled = chosen().length === 0 || chosen().join() === committed;
  });
  form.addEventListener("submit", () => {
    if (!chosen().length) return;
    const result = commit(chosen());
    keep(form, chosen());
    say(result);
    answered(form);
  });
  const before = kept(form);
  if (!Array.isArray(before) || !before.length || !before.every(index => all[index])) return;
  before.forEach(index => { all[index].input.checked = true; });
  commit(before);
  answered(form);
};

// A number as people write it: 0.25, 0,25, 1 234, 1,234.5, 1/4, 1e-3, with a minus of any length. One comma
// alone is a decimal comma (so 1,234 is 1.234); of a comma and a point the last is the decimal mark.
const plain = text => {
  let digits = text;
  if (/^[+-]?\d{1,3}(,\d{3}){2,}$/.test(digits) || /^[+-]?\d{1,3}(\.\d{3}){2,}$/.test(digits)) digits = digits.replace(/[.,]/g, "");
  else if (/^[+-]?\d{1,3}(,\d{3})+\.\d*$/.test(digits)) digits = digits.replace(/,/g, "");
  else if (/^[+-]?\d{1,3}(\.\d{3})+,\d*$/.test(digits)) digits = digits.replace(/\./g, "");
  digits = digits.replace(",", ".");
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(digits) ? Number(digits) : NaN;
};
const parse = (text, inPercent) => {
  let rest = text.trim().replace(/[\u2010-\u2015\u2212]/g, "-").replace(/(\d)[\s'\u2019](?=\d{3}(?!\d))/g, "$1");
  const percent = /\s*(%|per ?cent)$/i.test(rest);
  rest = rest.replace(/\s*(%|per ?cent)$/i, "");
  const parts = rest.split("/").map(part => plain(part.trim()));
  const value = parts.length === 1 ? parts[0] : parts.length === 2 ? parts[0] / parts[1] : NaN;
  return percent && !inPercent ? value / 100 : value;
};
const fits = (value, answer, digits) => {
  if (answer.range) return answer.range[0] <= value && value <= answer.range[1];
  if (answer.value === undefined) return true;
  if (digits) return value.toPrecision(digits) === Number(answer.value).toPrecision(digits);
  return Math.abs(value - answer.value) <= 1e-9 * Math.max(1, Math.abs(answer.value));
};

const number = (form, button, note) => {
  const input = $(".s-entry input", form), answers = $$(".s-fb", form).map(element => ({element, ...JSON.parse(element.dataset.fits)}));
  answers.sort((a, b) => Boolean(a.default) - Boolean(b.default));
  const clear = () => {
    answers.forEach(answer => { answer.element.hidden = true; });
    input.classList.remove("is-right", "is-wrong");
    input.removeAttribute("aria-invalid");
    note.classList.remove("is-stop");
    note.textContent = "";
  };
  // Whether the text is a number; if so, what is said to it is shown.
  const commit = text => {
    clear();
    const value = parse(text, form.dataset.percent === "true");
    if (!Number.isFinite(value)) {
      input.setAttribute("aria-invalid", "true");
      note.classList.add("is-stop");
      note.textContent = "\u201c" + text.trim() + "\u201d is not a number. Write one like 0.25, 0,25 or 25 %.";
      return null;
    }
    const answer = answers.find(each => fits(value, each, Number(form.dataset.precision)));
    const right = answer.element.dataset.correct === "true";
    answer.element.hidden = false;
    input.classList.add(right ? "is-right" : "is-wrong");
    const read = /^[-\u2212]?\d+(\.\d+)?$/.test(text.trim()) ? "" : "Read as " + Number(value.toPrecision(12)) + ". ";
    note.textContent = read + (right ? "" : "Try another number, or read on.");
    button.disabled = true;
    return read + answer.element.textContent;
  };
  input.addEventListener("input", () => { clear(); button.disabled = !input.value.trim(); });
  // JupyterLab and the page have keys of their own, which a reader who types means for neither.
  input.addEventListener("keydown", event => event.stopPropagation());
  form.addEventListener("submit", () => {
    if (!input.value.trim()) return;
    const result = commit(input.value);
    say(result === null ? note.textContent : result);
    if (result === null) return;
    keep(form, input.value);
    answered(form);
  });
  const before = kept(form);
  if (typeof before !== "string") return;
  input.value = before;
  if (commit(before) !== null) answered(form);
};

const kinds = {multiple_choice: one, many_choice: several, numeric: number};
mount("form.s-quiz", form => {
  form.reset();
  form.addEventListener("submit", event => event.preventDefault());
  kinds[form.dataset.type](form, $("button[type=submit]", form), $(".s-quiz-foot p", form));
  form.classList.add("is-ready");
});

// Several questions of one quiz stand one at a time: a page is shorter, and one question is thought about at a time.
// A link to a question turns to it. On paper, without scripts and under the browser's search all of them show.
mount(".s-quizzes", quiz => {
  const forms = $$("form.s-quiz", quiz);
  if (forms.length < 2) return;
  const steps = forms.map((form, i) => {
    const step = make("button", {type: "button", className: "s-step", textContent: i + 1});
    step.addEventListener("click", () => turn(i, true));
    return step;
  });
  const next = make("button", {type: "button", className: "s-btn", textContent: "Next question"});
  const bar = make("nav", {className: "s-turn"}, ...steps);
  bar.setAttribute("aria-label", "Questions of this quiz");
  let here = 0;
  const paint = () => steps.forEach((step, i) => {
    const done = forms[i].classList.contains("is-answered");
    step.classList.toggle("is-done", done);
    step.setAttribute("aria-label", "Question " + (i + 1) + (done ? ", answered" : ""));
    i === here ? step.setAttribute("aria-current", "step") : step.removeAttribute("aria-current");
  });
  const turn = (to, focus) => {
    forms[here].classList.remove("is-here");
    here = to;
    forms[here].classList.add("is-here");
    if (here === forms.length - 1) next.remove();
    else $("button[type=submit]", forms[here]).after(next);
    paint();
    if (focus) ($("input:checked", forms[here]) || $("input", forms[here])).focus({preventScroll: true});
  };
  next.addEventListener("click", () => { turn(here + 1, true); quiz.scrollIntoView({block: "nearest"}); });
  quiz.addEventListener("sinb:turn", event => turn(forms.indexOf(event.target)));
  document.addEventListener("sinb:answered", paint);
  const wanted = () => {
    const to = forms.findIndex(form => location.hash === "#" + form.id);
    if (to >= 0) { turn(to); forms[to].scrollIntoView({block: "center"}); }
  };
  addEventListener("hashchange", wanted);
  quiz.append(bar);
  quiz.classList.add("is-turned");
  turn(Math.max(0, forms.findIndex(form => !form.classList.contains("is-answered"))));
  wanted();
});

// What follows a prediction waits until the prediction is made: blurred, out of reach of keyboard and screen reader.
// A link into it opens it, and so does the browser's own search: that cannot look into what is inert, and finds the
// same words in an unseen copy (hidden="until-found" tells of a find).
const words = root => {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode())
    if (!walker.currentNode.parentElement.closest(".math, mjx-container, script, style, noscript")) found.push(walker.currentNode.data);
  return found.join(" ");
};
mount(".s-gate", gate => {
  const under = $(".s-under", gate);
  const forms = gate.dataset.gate.split(" ").map(id => $("form.s-quiz[data-quiz='" + id + "']")).filter(Boolean);
  const waits = () => forms.some(form => !form.classList.contains("is-answered"));
  if (!waits()) { gate.classList.add("is-open"); return; }
  const go = make("button", {type: "button", className: "s-btn is-main", textContent: "Go to the question"});
  const anyway = make("button", {type: "button", className: "s-btn", textContent: "Show anyway"});
  const veil = make("div", {className: "s-veil"}, make("div", {}, make("p", {textContent: "The answer is under here. Say first what you expect."}), make("div", {className: "s-veil-buttons"}, go, anyway)));
  const copy = make("div", {className: "s-find"});
  under.inert = true;
  gate.prepend(veil);
  const open = () => {
    if (gate.classList.contains("is-open")) return;
    const focused = veil.contains(document.activeElement);
    gate.classList.add("is-open");
    under.inert = false;
    veil.remove();
    copy.remove();
    if (!focused) return;
    under.tabIndex = -1;
    under.focus({preventScroll: true});
  };
  const wanted = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || !under.contains(target)) return;
    open();
    target.scrollIntoView();
  };
  if ("onbeforematch" in document.body) {
    copy.textContent = words(under);
    copy.setAttribute("hidden", "until-found");
    copy.addEventListener("beforematch", () => { open(); under.scrollIntoView({block: "nearest"}); });
    gate.append(copy);
  }
  go.addEventListener("click", () => {
    const form = forms.find(each => !each.classList.contains("is-answered"));
    form.dispatchEvent(new CustomEvent("sinb:turn", {bubbles: true}));
    form.scrollIntoView({block: "center"});
    ($("input:checked", form) || $("input", form)).focus({preventScroll: true});
  });
  anyway.addEventListener("click", () => { open(); say("Shown."); });
  document.addEventListener("sinb:answered", () => { if (!waits()) open(); });
  addEventListener("hashchange", wanted);
  wanted();
});
})();

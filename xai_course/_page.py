"""Styles and scripts that an explorer or a quiz carries with it, so that its page fetches nothing."""

# Colours come from the page (the book's theme, or JupyterLab's), so that light and dark need no second rule.
CSS_VARIABLES = """
__ROOT__ {
  --xw-text: var(--pst-color-text-base, var(--jp-content-font-color1, #1f2328));
  --xw-muted: var(--pst-color-text-muted, var(--jp-content-font-color2, #4d5560));
  --xw-page: var(--pst-color-background, var(--jp-layout-color0, #fff));
  --xw-surface: var(--pst-color-surface, var(--jp-layout-color2, #f3f4f5));
  --xw-border: var(--pst-color-border, var(--jp-border-color1, #c9cdd2));
  --xw-accent: var(--pst-color-primary, var(--jp-brand-color1, #0a7d91));
  color: var(--xw-text);
}
"""

CSS = {
    "frames": """
.xw-frames { margin: 1rem 0; padding: .75rem 1rem; border: 1px solid var(--xw-border);
  border-radius: .5rem; background: var(--xw-page); max-width: 100%; box-sizing: border-box; }
.xw-frames .xw-title { font-weight: 600; margin: 0 0 .5rem; color: var(--xw-text); }
.xw-frames img.xw-image { display: block; max-width: 100%; height: auto; margin: 0 auto .5rem;
  background: #fff; border-radius: .25rem; }
.xw-frames .xw-slider { display: block; margin: .35rem 0; color: var(--xw-text); }
.xw-frames .xw-slider span { display: block; font-size: .95em; }
.xw-frames .xw-slider output { font-weight: 600; color: var(--xw-text); display: inline; padding: 0; }
.xw-frames input[type=range] { width: 100%; min-height: 1.75rem; accent-color: var(--xw-accent);
  cursor: pointer; }
.xw-frames input[type=range]:focus-visible { outline: 3px solid var(--xw-accent); outline-offset: 2px; }
.xw-frames figcaption { margin: .5rem 0 0; font-size: .95em; text-align: left; color: var(--xw-text);
  min-height: 3em; }
.xw-frames noscript p { color: var(--xw-muted); }
""",
    "note": """
.xw-note { border: 1px dashed var(--xw-border); border-radius: .5rem; padding: .5rem 1rem;
  background: var(--xw-page); }
.xw-note p { margin: .25rem 0; color: var(--xw-text); }
""",
    "quiz": """
.xw-quiz { text-align: left; }
.xw-quiz .Quiz { margin: 1rem 0; padding: 1rem; border: 1px solid var(--xw-border); border-radius: .5rem;
  background: var(--xw-surface); box-sizing: border-box; }
.xw-quiz .xw-question { font-weight: 600; margin: 0; color: var(--xw-text); overflow-wrap: anywhere; }
.xw-quiz .xw-hint { color: var(--xw-muted); font-size: .9em; margin: .25rem 0 0; }
.xw-quiz .QuizCode pre { margin: .5rem 0; padding: .5rem; overflow-x: auto; background: var(--xw-page);
  color: var(--xw-text); border: 1px solid var(--xw-border); border-radius: .25rem; white-space: pre; }
.xw-quiz .QuizCode { display: block; max-width: 100%; }
.xw-quiz .Answer { display: grid; grid-template-columns: 1fr; gap: .5rem; margin: .75rem 0 0; }
.xw-quiz .MCButton { display: block; margin: 0; border: 1px solid var(--xw-border); border-radius: .375rem;
  background: var(--xw-page); color: var(--xw-text); min-width: 0; }
.xw-quiz .MCButton button { display: block; width: 100%; padding: .6rem .8rem; border: 0; background: none;
  color: inherit; font: inherit; text-align: left; cursor: pointer; overflow-wrap: anywhere; }
.xw-quiz .MCButton:hover { border-color: var(--xw-accent); }
.xw-quiz :is(.MCButton button, .Input-text, .xw-check):focus-visible { outline: 3px solid var(--xw-accent);
  outline-offset: 2px; border-radius: .375rem; }
.xw-quiz .MCButton.correctButton { background: #0b6b2c; border-color: #0b6b2c; color: #fff; }
.xw-quiz .MCButton.incorrectButton { background: #a3241d; border-color: #a3241d; color: #fff; }
.xw-quiz :is(.correctButton, .incorrectButton) :is(button, code, pre) { color: #fff; background: none; }
.xw-quiz .MCButton.correctButton button::before { content: "✓ " / ""; font-weight: 700; }
.xw-quiz .MCButton.incorrectButton button::before { content: "✗ " / ""; font-weight: 700; }
.xw-quiz .InpLabel { display: block; color: var(--xw-text); margin: 0 0 .25rem; }
.xw-quiz .xw-entry { display: flex; flex-wrap: wrap; gap: .5rem; }
.xw-quiz .Input-text { flex: 1 1 8rem; max-width: 14rem; padding: .4rem .6rem; font: inherit;
  color: var(--xw-text); background: var(--xw-page); border: 1px solid var(--xw-muted);
  border-radius: .375rem; }
.xw-quiz .Input-text.correctButton { border: 2px solid #0b6b2c; }
.xw-quiz .Input-text.incorrectButton { border: 2px solid #a3241d; }
.xw-quiz .xw-check { padding: .4rem .9rem; font: inherit; cursor: pointer; color: var(--xw-text);
  background: var(--xw-page); border: 1px solid var(--xw-muted); border-radius: .375rem; }
.xw-quiz .Feedback { color: var(--xw-text); }
.xw-quiz .Feedback.correct, .xw-quiz .Feedback.incorrect { margin: .75rem 0 0; padding: .5rem .75rem;
  background: var(--xw-page); border-left: 4px solid #0b6b2c; border-radius: .25rem; }
.xw-quiz .Feedback.incorrect { border-left-color: #c4433b; }
.xw-quiz .Feedback.correct::before { content: "Right. "; font-weight: 700; }
.xw-quiz .Feedback.incorrect::before { content: "Not this. "; font-weight: 700; }
""",
}

FRAMES_SCRIPT = """
(() => {
  const root = document.currentScript.closest(".xw-frames"), data = __DATA__;
  const image = root.querySelector("img"), caption = root.querySelector("figcaption");
  const sliders = [...root.querySelectorAll("input[type=range]")];
  data.src[0] = image.src;
  const show = () => {
    let index = 0;
    sliders.forEach((slider, i) => {
      index = index * data.labels[i].length + Number(slider.value);
      const label = data.labels[i][slider.value];
      slider.setAttribute("aria-valuetext", label);
      slider.parentElement.querySelector("output").textContent = label;
    });
    image.src = data.src[index];
    image.alt = data.alt[index];
    caption.textContent = data.caption[index];
  };
  sliders.forEach(slider => {
    slider.addEventListener("input", show);
    // A notebook application would take the arrow keys for itself.
    slider.addEventListener("keydown", event => event.stopPropagation());
  });
  root.querySelector(".xw-controls").hidden = false;
  show();
})();
""".replace("\n  ", "\n")

# jupyterquiz sees no MathJax: it would fetch one from the network if the page's own were still loading.
QUIZ_SCRIPT = """
(() => {
const root = document.currentScript.parentElement, MathJax = undefined;
const console = {log() {}, error: window.console.error.bind(window.console)};
__ENGINE__
const questions = __DATA__;
show_questions(questions, root);
__A11Y__
})();
"""

# jupyterquiz draws answers as labels around a hidden radio button: arrow keys would grade every answer that
# they pass. Inside its label each answer becomes a button, which bubbles its click to jupyterquiz's handler.
QUIZ_ACCESSIBLE = r"""
const typeset = element => {
  const mathjax = window.MathJax;
  if (!/\\[(\[]/.test(element.textContent) || !mathjax) return;
  if (mathjax.typesetPromise) mathjax.typesetPromise([element]);
};
root.querySelectorAll(".Quiz").forEach((box, i) => {
  const question = questions[i];
  const answers = box.querySelector(".Answer"), feedback = box.querySelector(".Feedback");
  const text = box.querySelector('[id^="quizQn"]');
  box.dataset.question = question.id;
  box.setAttribute("role", "group");
  text.classList.add("xw-question");
  box.setAttribute("aria-labelledby", text.id);
  if (question.type === "many_choice") {
    const hint = document.createElement("p");
    hint.className = "xw-hint";
    hint.textContent = "More than one answer may be right: choose each of them.";
    text.after(hint);
  }
  const status = document.createElement("div");
  status.setAttribute("role", "status");
  feedback.replaceWith(status);
  status.append(feedback);
  answers.querySelectorAll(".MCButton").forEach(label => {
    label.querySelector("input").remove();
    const button = document.createElement("button");
    button.type = "button";
    button.append(...label.childNodes);
    label.append(button);
  });
  const input = answers.querySelector(".Input-text");
  if (input) {
    const label = answers.querySelector(".InpLabel"), entry = document.createElement("div");
    const check = document.createElement("button");
    label.htmlFor = input.id;
    label.textContent = "Your answer, a number (then press Enter):";
    input.inputMode = "decimal";
    input.autocomplete = "off";
    input.setAttribute("aria-describedby", text.id);
    check.type = "button";
    check.className = "xw-check";
    check.textContent = "Check";
    check.onclick = () => input.value && input.onkeypress({which: 13, keyCode: 13});
    entry.className = "xw-entry";
    input.replaceWith(entry);
    entry.append(input, check);
  }
  box.addEventListener("keydown", event => event.stopPropagation());
  new MutationObserver(() => typeset(feedback)).observe(feedback, {childList: true});
});
if (window.MathJax && window.MathJax.startup && window.MathJax.startup.promise)
  window.MathJax.startup.promise.then(() => typeset(root));
"""

// A quiz: jupyterquiz's own functions (__ENGINE__) draw the questions (__DATA__) and grade the answers; what
// follows them makes the answers usable with a keyboard and a screen reader, and typesets the equations.
(() => {
// jupyterquiz sees no MathJax: it would fetch one from the network if the page's own were still loading.
const root = document.currentScript.parentElement, MathJax = undefined;
const console = {log() {}, error: window.console.error.bind(window.console)};
__ENGINE__
const questions = __DATA__;
show_questions(questions, root);

const typeset = element => {
  const mathjax = window.MathJax;
  if (!/\\[(\[]/.test(element.textContent) || !mathjax) return;
  if (mathjax.typesetPromise) mathjax.typesetPromise([element]);
};
// jupyterquiz draws answers as labels around a hidden radio button: arrow keys would grade every answer that
// they pass. Inside its label each answer becomes a button, which bubbles its click to jupyterquiz's handler.
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
})();

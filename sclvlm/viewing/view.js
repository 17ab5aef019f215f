"use strict";
// Everything from a run is put in as text: nodes are made by createElement and filled by append, which makes text
// nodes of strings. The page's policy refuses HTML in strings altogether.
(() => {
  const ROW = 68, SPARE = 8; // height of a row in px, as in the style; rows drawn beyond either edge
  const OUTCOMES = {
    "i->c": ["i→c", "became correct"], "c->i": ["c→i", "became wrong"], "c->c": ["c→c", "stayed correct"],
    "i->i": ["i→i", "stayed wrong"], unparsed: ["unparsed", "some answer could not be read"],
    failed: ["failed", "could not be answered"],
  };
  const CHANGES = { gain: "Training made it correct", loss: "Training made it wrong", same: "Training changed nothing" };
  const SIGNS = { correct: "✓ correct", incorrect: "✗ incorrect", unparsed: "? unparsed" };

  const $ = (id) => document.getElementById(id);
  const make = (tag, properties, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children.flat().filter((child) => child !== null));
    return node;
  };
  const number = (count) => count.toLocaleString("en");
  const take = (selector) => [...document.querySelectorAll(selector)].map((node) => {
    node.remove(); // the text is not kept twice
    return JSON.parse(node.textContent);
  });

  // The run: every trace with its question.
  const [about] = take("#about");
  const titles = new Map(about.stages.map((stage) => [stage.name, stage.title]));
  const samples = take("script[data-samples]").flat();
  const all = take("script[data-traces]").flatMap((block) =>
    block.traces.map((trace) => ({ ...trace, stage: block.stage, texts: block.texts, sample: samples[trace.sample] })));
  for (const sample of samples) {
    sample.traces = [];
    const options = sample.choices.map(([, text]) => text);
    sample.text = [sample.id, sample.category, sample.question, sample.hint, ...options, ...sample.gold]
      .join("\n").toLowerCase();
  }
  for (const trace of all) {
    trace.sample.traces.push(trace);
    trace.text = trace.turns.map((turn) => `${turn.response}\n${turn.answer ?? ""}`).join("\n").toLowerCase();
    const unparsed = trace.turns.some((turn) => turn.verdict === "unparsed");
    trace.outcomes = [trace.transition, unparsed ? "unparsed" : null, trace.error ? "failed" : null].filter(Boolean);
  }
  const changeOf = (trace) => {
    const [before, after] = ["before", "after"].map((stage) =>
      trace.sample.traces.find((other) => other.stage === stage && other.draw === trace.draw)?.turns[0].verdict);
    if (trace.stage === "infer" || !before || !after) return null;
    if ((before === "correct") === (after === "correct")) return "same";
    return after === "correct" ? "gain" : "loss";
  };
  for (const trace of all) trace.change = changeOf(trace);

  // What is shown.
  const list = $("list"), rows = $("rows"), detail = $("detail");
  const narrow = matchMedia("(max-width: 52rem)");
  let visible = [], selected = null, outcome = "", words = [];

  const url = (index) => $(`picture-${index}`).textContent;
  const why = (index) => $(`picture-${index}`).dataset.why;
  const arrow = (transition) => OUTCOMES[transition][0];
  const place = (trace) => [titles.get(trace.stage), trace.draw ? `draw ${trace.draw}` : ""].filter(Boolean).join(", ");

  // Filters.
  const choose = (id, every, values, label) => {
    const select = $(id);
    select.hidden = values.length < 2;
    select.append(make("option", { value: "" }, every));
    select.append(...values.map((value) => make("option", { value }, label(value))));
    select.addEventListener("change", apply);
  };
  const distinct = (key) => [...new Set(all.map(key))].filter((value) => value !== null && value !== "");
  const chip = ([name, text, meaning]) => {
    const button = make("button", { type: "button", className: `chip ${css(name)}`, title: meaning, value: name },
      make("span", {}, text), make("b", {}));
    button.addEventListener("click", () => { outcome = outcome === name ? "" : name; apply(); });
    return button;
  };
  const css = (name) => name.replace("->", "");
  const fill = () => {
    choose("stage", "All stages", [...titles.keys()], (name) => titles.get(name));
    choose("category", "All categories", distinct((trace) => trace.sample.category).sort(), (name) => name);
    choose("change", "With and without training", distinct((trace) => trace.change), (name) => CHANGES[name]);
    const found = new Set(all.flatMap((trace) => trace.outcomes));
    const chips = Object.entries(OUTCOMES).filter(([name]) => found.has(name));
    $("outcomes").append(...[["", "all", "every trace"], ...chips.map(([name, [text, meaning]]) => [name, text, meaning])]
      .map(chip));
    $("notes").append(...about.notes.map((note) => make("p", {}, note)));
  };
  const passes = (stage, category, change) => (trace) =>
    (!stage || trace.stage === stage) && (!category || trace.sample.category === category)
    && (!change || trace.change === change)
    && words.every((word) => trace.sample.text.includes(word) || trace.text.includes(word));
  function apply() {
    words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const passing = all.filter(passes($("stage").value, $("category").value, $("change").value));
    visible = outcome ? passing.filter((trace) => trace.outcomes.includes(outcome)) : passing;
    for (const button of $("outcomes").children) {
      const count = passing.filter((trace) => !button.value || trace.outcomes.includes(button.value)).length;
      button.lastChild.textContent = number(count);
      button.ariaPressed = String(button.value === outcome);
    }
    $("count").textContent = `${number(visible.length)} of ${number(all.length)} traces`;
    rows.style.height = `${visible.length * ROW}px`;
    list.scrollTop = 0;
    go(Math.max(visible.indexOf(selected), 0));
  }

  // The list: only the rows in sight are there.
  const row = (trace, index) => {
    const { sample } = trace, picture = sample.images.length ? url(sample.images[0][0]) : "";
    const thumb = picture ? make("img", { src: picture, alt: "", className: "thumb" }) : make("span", { className: "thumb" });
    const where = [titles.size > 1 ? trace.stage : "", sample.category, sample.id].filter(Boolean).join(" · ");
    const node = make("div", {
      role: "option", id: `row-${index}`, className: "row", ariaSelected: String(trace === selected),
      ariaPosInSet: String(index + 1), ariaSetSize: String(visible.length),
    }, thumb, make("div", {}, make("p", {}, marked(sample.question)), make("small", {}, marked(where))), badge(trace));
    node.style.top = `${index * ROW}px`;
    node.addEventListener("click", () => { go(index); read(); });
    return node;
  };
  const badge = (trace) => trace.error ? make("span", { className: "badge failed" }, "failed")
    : trace.transition && make("span", { className: `badge ${css(trace.transition)}`,
      title: OUTCOMES[trace.transition][1] }, arrow(trace.transition));
  const draw = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE;
    rows.replaceChildren(...visible.slice(first, last).map((trace, offset) => row(trace, first + offset)));
    list.setAttribute("aria-activedescendant", selected ? `row-${visible.indexOf(selected)}` : "");
  };
  const go = (index) => {
    const at = Math.min(Math.max(index, 0), visible.length - 1);
    selected = visible[at] ?? null;
    const top = at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    draw();
    show();
  };
  const step = (by) => go(visible.indexOf(selected) + by);

  // The trace that is selected.
  const marked = (text) => {
    if (!words.length) return [text];
    const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return text.split(new RegExp(`(${escaped.join("|")})`, "gi"))
      .map((piece, index) => index % 2 ? make("mark", {}, piece) : piece);
  };
  const picture = ([at, name], index) => {
    if (!url(at)) return make("p", { className: "muted" }, `Picture not shown: ${name} (${why(at)}).`);
    const button = make("button", { type: "button", className: "picture", title: name, ariaExpanded: "false" },
      make("img", { src: url(at), alt: `Picture ${index + 1} of the question` }));
    button.addEventListener("click", () => { button.ariaExpanded = String(button.classList.toggle("large")); });
    return button;
  };
  const option = ([label, text], trace) => {
    const right = trace.sample.gold.includes(label);
    const said = trace.turns.map((turn, index) => turn.answer === label ? make("small", {}, turnName(trace, index)) : null);
    return make("li", { className: right ? "right" : "" }, make("b", {}, label), make("span", {}, marked(text)),
      make("span", { className: "tags" }, right ? make("small", { className: "correct" }, "✓ right") : null, said));
  };
  const question = (trace) => {
    const { sample } = trace;
    const facts = [sample.category, sample.id].filter(Boolean).join(" · ");
    return make("section", { className: "question" },
      sample.images.length ? make("div", { className: "pictures" }, sample.images.map(picture)) : null,
      make("div", {},
        make("p", { className: "muted" }, facts),
        make("h2", {}, marked(sample.question)),
        sample.hint ? make("p", {}, "Hint: ", marked(sample.hint)) : null,
        sample.choices.length ? make("ul", { className: "options" }, sample.choices.map((each) => option(each, trace)))
          : make("p", {}, "Right answer: ", make("b", {}, marked(sample.gold.join(" or "))))));
  };
  const turnName = (trace, index) => {
    if (!index) return "First answer";
    return trace.turns.length === 2 ? "After review" : `After review ${index}`;
  };
  const reading = (turn) => turn.answer === null ? "nothing could be read" : `read as ${turn.answer} (by ${turn.method})`;
  const turnCard = (trace) => (turn, index) => make("div", { className: "turn" },
    make("h4", {}, turnName(trace, index),
      turn.verdict ? make("span", { className: `badge ${turn.verdict}` }, SIGNS[turn.verdict]) : null),
    turn.verdict ? make("p", { className: "muted" }, reading(turn)) : null,
    make("pre", { className: "response" }, turn.response ? marked(turn.response) : "(empty)"),
    make("p", { className: "muted" }, `${turn.tokens} tokens, ended by ${turn.ended}`),
    make("details", {}, make("summary", {}, "Prompt"), make("pre", {}, trace.texts[turn.prompt])));
  const traceSection = (trace) => {
    const stage = about.stages.find((each) => each.name === trace.stage);
    const prompts = Object.values(stage.prompts).join(", ");
    return make("section", { className: "trace" },
      make("h3", {}, place(trace), trace.transition
        ? make("span", { className: `badge ${css(trace.transition)}` }, OUTCOMES[trace.transition].join(" ")) : null),
      make("p", { className: "muted" }, [stage.model, prompts].filter(Boolean).join(" · ")),
      trace.error ? make("p", { className: "error" }, `Could not be answered: ${trace.error}`) : null,
      make("div", { className: "turns" }, trace.turns.map(turnCard(trace))));
  };
  const show = () => {
    detail.scrollTop = 0;
    $("at").textContent = `${number(visible.indexOf(selected) + 1)} of ${number(visible.length)}`;
    if (!selected) {
      $("trace").replaceChildren(make("p", { className: "muted" }, "No trace passes these filters."));
      return;
    }
    const others = selected.sample.traces.filter((trace) => trace !== selected);
    $("trace").replaceChildren(question(selected), traceSection(selected),
      ...(others.length ? [make("h2", { className: "others" }, "The same question elsewhere")] : []),
      ...others.map(traceSection));
  };

  // Reading one trace on a narrow screen is a page of its own, so that the browser's way back leads to the list.
  const read = () => { if (narrow.matches) location.hash = "trace"; };
  const turned = () => {
    document.body.classList.toggle("reading", location.hash === "#trace");
    draw();
  };

  const page = () => Math.max(Math.floor(list.clientHeight / ROW) - 1, 1);
  const KEYS = {
    j: () => step(1), k: () => step(-1), "/": () => $("words").focus(), Enter: read,
    ArrowDown: () => step(1), ArrowUp: () => step(-1), PageDown: () => step(page()), PageUp: () => step(-page()),
    Home: () => go(0), End: () => go(visible.length - 1),
  };
  const pressed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inField = event.target.matches("input, select");
    if (event.key === "Escape") {
      if (inField) list.focus(); else if (location.hash) history.back();
      return;
    }
    const inList = event.target === list || event.target === document.body;
    if (inField || !(event.key in KEYS) || !(inList || "jk/".includes(event.key))) return;
    event.preventDefault();
    KEYS[event.key]();
  };

  let timer = 0;
  $("words").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(apply, 60); });
  $("filters").addEventListener("submit", (event) => { event.preventDefault(); list.focus(); });
  list.addEventListener("scroll", () => requestAnimationFrame(draw));
  $("back").addEventListener("click", () => history.back());
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  addEventListener("resize", draw);
  addEventListener("hashchange", turned);
  addEventListener("keydown", pressed);
  if (location.hash) location.replace("#"); // the page begins with the list
  fill();
  apply();
})();

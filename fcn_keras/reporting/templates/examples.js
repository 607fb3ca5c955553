const examples = [...document.querySelectorAll(".example")].map((example) => {
  const slider = example.querySelector("input"), button = example.querySelector("button");
  const blend = (value) => {  // 0: the image; 100: the prediction; 200: the ground truth.
    slider.value = value;
    example.querySelector(".prediction").style.opacity = Math.min(value, 100) / 100;
    example.querySelector(".truth").style.opacity = Math.max(value - 100, 0) / 100;
    const text = value <= 100 ? `prediction ${value} %` : `ground truth ${value - 100} %`;
    slider.setAttribute("aria-valuetext", text);
  };
  const showErrors = (errors) => {
    example.classList.toggle("errors", errors);
    button.setAttribute("aria-pressed", errors);
  };
  slider.addEventListener("input", () => { showErrors(false); blend(Number(slider.value)); });
  button.addEventListener("click", () => showErrors(!example.classList.contains("errors")));
  blend(Number(slider.value));  // A browser restores the slider when the page is reloaded.
  return { blend, showErrors };
});
for (const button of document.querySelectorAll("[data-view]")) {
  const view = button.dataset.view;
  button.addEventListener("click", () => {
    for (const example of examples) {
      example.showErrors(view === "errors");
      if (view !== "errors") example.blend(Number(view));
    }
  });
}

// Draws the interactive figures. A click on an operating point, or a choice in the list, shows its layers.
for (const section of document.querySelectorAll(".interactive")) {
  const content = JSON.parse(section.querySelector("script").textContent);
  const overview = section.querySelector(".overview");
  const detail = section.querySelector(".detail");
  const list = section.querySelector("select");
  const options = { responsive: true, displaylogo: false, toImageButtonOptions: { format: "svg" } };

  function select(point) {
    const figure = content.details[point];
    list.value = point;
    Plotly.react(detail, figure.data, figure.layout, options);
  }

  Plotly.newPlot(overview, content.overview.data, content.overview.layout, options);
  overview.on("plotly_click", (event) => select(event.points[0].customdata));
  list.addEventListener("change", () => select(list.value));
  select(content.selected);
}

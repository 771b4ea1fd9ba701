function startTheme() {
  const themes = [["", "as the system"], ["light", "light"], ["dark", "dark"]];
  let place = 0;
  byId("theme").addEventListener("click", () => {
    place = (place + 1) % themes.length;
    document.documentElement.dataset.theme = themes[place][0];
    byId("theme").textContent = "Theme: " + themes[place][1];
  });
}

startTheme();
startViewer();
startCurves();
drawSheet();

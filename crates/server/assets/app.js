// The balance popover is a <details>, which opens and closes without this script. What <details> lacks is
// closing by Escape (with the focus returned) and by a click beside it.
(() => {
  const open = () => document.querySelector("details.balance[open]");
  document.addEventListener("keydown", (event) => {
    const details = event.key === "Escape" && open();
    if (!details) return;
    const inside = details.contains(document.activeElement);
    details.open = false;
    if (inside) details.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    const details = open();
    if (details && !details.contains(event.target)) details.open = false;
  });
})();

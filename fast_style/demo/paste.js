// Puts a picture from the clipboard into the page's uploader, as if it had been chosen there.
export default function ({ data }) {
  const find = () => {
    const all = data.uploaders.map((key) => document.querySelector(`.st-key-${key} input[type=file]`));
    return all.find((input) => input?.closest("[data-testid=stFileUploader]")?.offsetParent);
  };
  const paste = (event) => {
    if (event.defaultPrevented || event.target.closest?.("input:not([type=file]), textarea")) return;
    const files = [...(event.clipboardData?.files ?? [])].filter((one) => one.type.startsWith("image/"));
    const input = files.length ? find() : null;
    if (!input) return;
    event.preventDefault();
    const chosen = new DataTransfer();
    for (const file of input.multiple ? files : files.slice(0, 1)) chosen.items.add(file);
    input.files = chosen.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}

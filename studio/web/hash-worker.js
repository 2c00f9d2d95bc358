// Worker: the SHA-256 of one file at a time, so that max one file per worker is in memory.

addEventListener("message", async ({ data: { id, file } }) => {
  try {
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    const sha256 = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
    postMessage({ id, sha256 });
  } catch (error) {
    postMessage({ id, error: String(error) });
  }
});

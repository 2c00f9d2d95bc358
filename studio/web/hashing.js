// Hashes of files, computed in workers.

const WORKERS = 2;

/** Return true if the browser can hash here: only on localhost and over HTTPS. */
export const canHash = () => Boolean(globalThis.crypto?.subtle);

export class Hasher {
  #idle = [];
  #jobs = [];
  #running = new Map();
  #next = 0;

  constructor() {
    for (let i = 0; i < WORKERS; i += 1) {
      const worker = new Worker(new URL("./hash-worker.js", import.meta.url), { type: "module" });
      worker.addEventListener("message", ({ data }) => {
        const { resolve, reject } = this.#running.get(data.id);
        this.#running.delete(data.id);
        this.#idle.push(worker);
        if (data.error) reject(new Error(data.error));
        else resolve(data.sha256);
        this.#start();
      });
      this.#idle.push(worker);
    }
    this.workers = [...this.#idle];
  }

  /** Return the SHA-256 of a file as hexadecimal digits; rejects if it cannot be read. */
  hash(file) {
    return new Promise((resolve, reject) => {
      this.#jobs.push({ file, resolve, reject });
      this.#start();
    });
  }

  close() {
    for (const worker of this.workers) worker.terminate();
  }

  #start() {
    while (this.#idle.length && this.#jobs.length) {
      const { file, ...promise } = this.#jobs.shift();
      const id = (this.#next += 1);
      this.#running.set(id, promise);
      this.#idle.pop().postMessage({ id, file });
    }
  }
}

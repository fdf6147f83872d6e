// Browsers start no Worker from a page that was opened as a file. There the search runs in a hidden frame instead; the
// theme looks for the class by this name.
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.onmessage = null
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inner = this.frame.contentWindow
      inner.document.open()
      inner.document.write("<!doctype html><html><body></body></html>")
      inner.document.close()
      inner.postMessage = (data) => this.receive(data)
      inner.importScripts = (...urls) => urls.reduce((before, each) => before.then(() => this.load(each)), Promise.resolve())
      this.ready = this.load(url)
    }

    load(url) {
      const inner = this.frame.contentWindow
      return new Promise((done, failed) => {
        const script = inner.document.createElement("script")
        Object.assign(script, { src: url, onload: done, onerror: failed })
        inner.document.body.append(script)
      })
    }

    receive(data) {
      const told = new MessageEvent("message", { data })
      this.dispatchEvent(told)
      this.onmessage?.(told)
    }

    postMessage(data) {
      this.ready.then(() => {
        const inner = this.frame.contentWindow
        inner.dispatchEvent(new inner.MessageEvent("message", { data }))
      })
    }

    terminate() {
      this.frame.remove()
    }
  }
}

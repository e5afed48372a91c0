// The site's search runs in a worker, and browsers start none for pages that are read from a disk. There, a hidden frame
// does the work of one. Nothing of this is needed where a server sends the pages.
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement('iframe')
      this.frame.hidden = true
      document.documentElement.append(this.frame)
      const inside = this.frame.contentWindow
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent('message', { data }))
      inside.importScripts = () => {}
      this.ready = new Promise((resolve, reject) => {
        const script = inside.document.createElement('script')
        script.onload = resolve
        script.onerror = reject
        script.src = url
        inside.document.documentElement.append(script)
      })
    }

    async postMessage(data) {
      await this.ready
      this.frame.contentWindow.dispatchEvent(new MessageEvent('message', { data }))
    }

    terminate() {
      this.frame.remove()
    }
  }
}

// WebSocket echo with the npm package `ws`. usage: node server.js PORT   (setup.sh js installs it in run/js)
const { WebSocketServer } = require('ws');
console.log('backend node epoll');
const s = new WebSocketServer({ host: '127.0.0.1', port: +process.argv[2] || 7000, perMessageDeflate: false });
s.on('connection', (c) => {
  c._socket.setNoDelay(true);
  c.on('message', (d, b) => c.send(d, { binary: b }));
  c.on('error', () => {});
});

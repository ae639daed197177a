// An Uppy with the adapter of clients/uppy. The fragment of the URL has the server and the token.
import Uppy from '@uppy/core';
import Dashboard from '@uppy/dashboard';
import GoldenRetriever from '@uppy/golden-retriever';
import Partway from '../../../clients/uppy/partway-uppy.js';
import '@uppy/core/css/style.min.css';
import '@uppy/dashboard/css/style.min.css';

const { server, token, limit } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
window.token = token;
window.uppy = new Uppy({ debug: true })
  .use(Dashboard, { inline: true, target: '#uppy' })
  .use(Partway, { server, limit: Number(limit ?? 6), headers: async () => ({ Authorization: `Bearer ${window.token}` }) })
  .use(GoldenRetriever, { serviceWorker: true });
navigator.serviceWorker.register('/service_worker.js');

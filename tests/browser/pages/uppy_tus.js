// An Uppy with its own plugin for tus. The fragment of the URL has the server and the token.
import Uppy from '@uppy/core';
import Dashboard from '@uppy/dashboard';
import GoldenRetriever from '@uppy/golden-retriever';
import Tus from '@uppy/tus';
import '@uppy/core/css/style.min.css';
import '@uppy/dashboard/css/style.min.css';

const { server, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
// On an object store, a part that a killed server was storing is free again after ten seconds.
const retryDelays = [100, 500, 1000, 2000, 4000, 8000];
window.uppy = new Uppy({ debug: true })
  .use(Dashboard, { inline: true, target: '#uppy' })
  .use(Tus, { endpoint: `${server}/uploads/tus`, headers: { Authorization: `Bearer ${token}` }, retryDelays })
  .use(GoldenRetriever, { serviceWorker: true });
navigator.serviceWorker.register('/service_worker.js');

// MetaMask's NetworkController with a network that a user has added, as the extension builds both.
//
// Written for @metamask/network-controller 25.0.0, the newest whose whole tree installs from npm; deepmerge
// is a dependency it does not declare. The extension polls blocks every 20 s; here every second.
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { Messenger, MOCK_ANY_NAMESPACE } = require('@metamask/messenger');
const { NetworkController, RpcEndpointType } = require('@metamask/network-controller');

// the events by which MetaMask tells its user that an endpoint does not do
const TROUBLE = ['rpcEndpointUnavailable', 'rpcEndpointDegraded', 'rpcEndpointRequestRetried'];

// The root messenger, the controller, and what adds the network at `url`; `trouble(name, error)` hears what went wrong.
export function network(url, chainId, trouble) {
  const root = new Messenger({ namespace: MOCK_ANY_NAMESPACE });
  root.registerActionHandler('ErrorReportingService:captureException', (error) => trouble('captured', error));
  const messenger = new Messenger({ namespace: 'NetworkController', parent: root });
  root.delegate({ messenger, actions: ['ErrorReportingService:captureException'], events: [] });
  for (const event of TROUBLE) {
    messenger.subscribe(`NetworkController:${event}`, ({ attempt, error }) =>
      trouble(event, new Error(`${attempt ? `attempt ${attempt}` : ''} ${error?.message ?? ''}`)));
  }
  const controller = new NetworkController({
    messenger,
    infuraProjectId: '0'.repeat(32),
    getRpcServiceOptions: () => ({ fetch: globalThis.fetch, btoa: globalThis.btoa }),
    getBlockTrackerOptions: () => ({ pollingInterval: 1000, retryTimeout: 1000 }),
    // MetaMask always has a network before the user adds one; nobody asks this one for anything
    state: {
      selectedNetworkClientId: 'before',
      networksMetadata: {},
      networkConfigurationsByChainId: {
        '0x1': {
          chainId: '0x1',
          name: 'before',
          nativeCurrency: 'ETH',
          blockExplorerUrls: [],
          defaultRpcEndpointIndex: 0,
          rpcEndpoints: [{ networkClientId: 'before', type: RpcEndpointType.Custom, url: 'http://127.0.0.1:9', failoverUrls: [] }],
        },
      },
    },
  });
  const add = () => {
    controller.initializeProvider({ lookupNetwork: false });
    const added = controller.addNetwork({
      chainId,
      name: 'lab',
      nativeCurrency: 'ETH',
      blockExplorerUrls: [],
      defaultRpcEndpointIndex: 0,
      rpcEndpoints: [{ type: RpcEndpointType.Custom, url, name: 'lab', failoverUrls: [] }],
    });
    return added.rpcEndpoints[0].networkClientId;
  };
  return { root, controller, add };
}

export {
  OutboxTester,
  type OutboxTesterOptions,
  type ProviderLookup,
  type PublishedMessage,
} from './outbox-tester';
export { type ProviderOverrides, withoutBroker, type WithoutBrokerOptions } from './without-broker';

export { rabbitMq } from './rabbitmq.definition';
export type { PartitionSpread } from '../../core/ordered-queue';
export type { OrderedQueueOptions, RabbitMqOptions, UnroutablePolicy } from './rabbitmq.options';

import { Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import {
  type DeadLetterPage,
  type DeadLetterResult,
  DeadLetters,
  type Explanation,
  OutboxRelay,
  type OutboxStats,
} from 'nestjs-outbox';

/** What an operator looks at. A real shop keeps it away from customers. */
@Controller('outbox')
export class OutboxController {
  constructor(
    private readonly relay: OutboxRelay,
    private readonly deadLetters: DeadLetters,
  ) {}

  @Get('stats')
  stats(): Promise<OutboxStats> {
    return this.relay.stats();
  }

  /** Why a message is not sent yet. */
  @Get('messages/:id/explanation')
  explain(@Param('id') id: string): Promise<Explanation> {
    return this.relay.explain(id);
  }

  /** What was given up on, and how many messages wait behind each. @param after the `next` of the page before */
  @Get('dead-letters')
  list(@Query('after') after?: string): Promise<DeadLetterPage> {
    return this.deadLetters.list({}, { after });
  }

  /** The cause is put right: send them all again. */
  @Post('dead-letters/redrive')
  @HttpCode(200)
  redrive(): Promise<DeadLetterResult> {
    return this.deadLetters.redrive({});
  }
}

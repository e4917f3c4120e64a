import { applyDecorators } from '@nestjs/common';
import { IsInt, Matches, Max, Min } from 'class-validator';

/** A name that a client chose for something: readable, short enough for a column, the same in every database. */
export function IsIdentifier(): PropertyDecorator {
  return applyDecorators(
    Matches(/^[\w.:@-]{1,64}$/, { message: '$property must be 1 to 64 letters, digits or any of _ - . : @' }),
  );
}

/** How many of a thing: with at most 50 items an order's total stays an exact number. */
export function IsQuantity(): PropertyDecorator {
  return applyDecorators(IsInt(), Min(1), Max(1_000_000));
}

export const ITEMS_MAX = 50;
export const PRICE_CENTS_MAX = 100_000_000;

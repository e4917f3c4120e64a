import { IsInt, IsNotEmpty, IsString, Matches, Max, MaxLength, Min } from 'class-validator';

import { IsIdentifier, PRICE_CENTS_MAX } from '../validation';

export class SkuParams {
  @IsIdentifier()
  sku!: string;
}

export class PutProduct {
  @IsString()
  @IsNotEmpty()
  @MaxLength(200)
  @Matches(/^\P{Cc}*$/u, { message: '$property must not contain control characters' })
  name!: string;

  @IsInt()
  @Min(0)
  @Max(PRICE_CENTS_MAX)
  priceCents!: number;

  @IsInt()
  @Min(0)
  @Max(1_000_000_000)
  stock!: number;
}

import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A delivery that had no effect, because an earlier one of the same message had it. */
@Entity('dropped_duplicates')
export class DroppedDuplicate {
  @PrimaryColumn({ length: 36 })
  id!: string;

  @Column({ length: 255 })
  consumer!: string;

  @Column({ name: 'message_key', length: 255 })
  messageKey!: string;
}

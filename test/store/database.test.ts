import assert from 'node:assert/strict';
import { sql } from 'kysely';
import { migrate, openStore } from '../../store/database.ts';
import { type TestDatabase, testDatabase } from '../support/postgres.ts';

describe('store: database', () => {
  let db: TestDatabase;
  before(async () => {
    db = await testDatabase();
  });
  after(() => db.drop());

  it('lets several processes migrate at once and changes nothing the second time', async () => {
    const stores = [openStore(db.url), openStore(db.url), openStore(db.url)];
    const applied = await Promise.all(stores.map(migrate));
    assert.deepEqual(applied.flat(), []);
    await Promise.all(stores.map((s) => s.destroy()));
  });

  it('refuses to change the audit log', async () => {
    await sql`INSERT INTO audit (namespace, action, user_id, user_name, message) VALUES ('n', 'a', 'u', 'u', 'm')`.execute(
      db.store,
    );
    await assert.rejects(sql`UPDATE audit SET message = 'x'`.execute(db.store), /append-only/);
    await assert.rejects(sql`DELETE FROM audit`.execute(db.store), /append-only/);
  });
});

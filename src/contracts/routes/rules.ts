/** Routes of rules of placement. */
import { CreateRule, Rule } from '../restart.ts'
import { ListQuery, Nothing, Page, route } from './row.ts'

export const ruleRoutes = {
  listRules: route({
    method: 'GET',
    path: '/v1/rules',
    summary: 'List rules of placement',
    group: 'rules',
    role: 'reader',
    query: ListQuery,
    response: Page(Rule),
    status: 200,
  }),

  createRule: route({
    method: 'POST',
    path: '/v1/rules',
    summary: 'Add a rule: VMs together, apart, or on hosts. Contradictions are refused',
    group: 'rules',
    role: 'operator',
    body: CreateRule,
    response: Rule,
    status: 201,
  }),

  removeRule: route({
    method: 'DELETE',
    path: '/v1/rules/{rule}',
    summary: 'Remove a rule',
    group: 'rules',
    role: 'operator',
    response: Nothing,
    status: 204,
  }),
} as const

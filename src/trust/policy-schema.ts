/** `trust.yaml` as a person writes it. `schema/trust.schema.json` is generated from this. */
import * as z from 'zod';

import { Repository, RepositoryPattern, requireSigners, signerKeys } from '../spec/update-schema.ts';

export const TrustRuleInput = z
  .union([
    z.enum(['reject', 'accept']),
    z
      .strictObject({
        ...signerKeys,
        signedAs: Repository.optional().describe(
          'Repository that the signatures name. Default: the one that the image is in. For mirrors.',
        ),
        attestations: z
          .array(z.string().min(1))
          .optional()
          .describe(
            'What must be attested besides, by one who may sign: predicate types, or cosign’s names for them, such as slsaprovenance1.',
          ),
      })
      .superRefine(requireSigners),
  ])
  .describe('What an image of these repositories must have; or `accept`, or `reject`.');

export const TrustPolicyInput = z
  .strictObject({
    default: z
      .enum(['reject', 'accept'])
      .optional()
      .describe('For repositories that no rule names. Default: reject.'),
    repositories: z
      .record(RepositoryPattern, TrustRuleInput)
      .optional()
      .describe('Rules by repository. The one that names it wins, then the longest that ends with /*.'),
  })
  .meta({ title: 'Ingot trust policy', description: 'Which repositories need whose signatures.' });
export type TrustPolicyInput = z.infer<typeof TrustPolicyInput>;

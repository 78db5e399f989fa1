/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KSM_LAB_HASH_H
#define KSM_LAB_HASH_H

#include "lab.h"

int ksm_lab_hash(struct ksm_lab_hash *hash);

#endif /* KSM_LAB_HASH_H */

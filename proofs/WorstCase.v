(* The worst case: when every rounding stays within half a step s, the loss is at most s^2/4 times the
   sum of the pivots D_j. That sum is at most the trace of H, and equals it exactly when H is diagonal:
   what the sweep has to gain is known before anything is quantised. *)

From Coq Require Import Reals Lra Lia Arith.
From Assay Require Import FiniteSums Quadratic Sweep LossIdentity Factors.
Open Scope R_scope.

Lemma square_within : forall x b, Rabs x <= b -> x ^ 2 <= b ^ 2.
Proof.
  intros x b within. rewrite <- !Rsqr_pow2. apply Rsqr_le_abs_1.
  apply Rle_trans with (1 := within), Rle_abs.
Qed.

Theorem worst_case : forall n H V D w Q s,
  factors n H V D -> (forall j, (j < n)%nat -> 0 <= D j) ->
  (forall j x, (j < n)%nat -> Rabs (x - Q j x) <= s / 2) ->
  quadratic n H (fun j => w j - decoded (sweep V Q w n) j) <= s ^ 2 / 4 * sum n D.
Proof.
  intros n H V D w Q s F nonneg within. rewrite (loss_identity_of_the_sweep n H V D) by assumption.
  rewrite <- sum_scale. apply sum_le; intros j ?. rewrite decoded_is_final by assumption.
  replace (s ^ 2 / 4 * D j) with (D j * (s / 2) ^ 2) by field.
  apply Rmult_le_compat_l; [apply nonneg; assumption|]. apply square_within, within. assumption.
Qed.

Lemma pivot_below_diagonal : forall n H V D j,
  factors n H V D -> (forall k, (k < n)%nat -> 0 <= D k) -> (j < n)%nat -> D j <= H j j.
Proof.
  intros n H V D j [unit upper same] nonneg inside. rewrite same by assumption.
  replace (D j) with (V j j * D j * V j j) by (rewrite unit by assumption; ring).
  apply (sum_term_le n (fun k => V j k * D k * V j k)); [assumption|]. intros k ?.
  replace (V j k * D k * V j k) with (D k * Rsqr (V j k)) by (unfold Rsqr; ring).
  apply Rmult_le_pos; [apply nonneg; assumption|apply Rle_0_sqr].
Qed.

Theorem pivots_at_most_trace : forall n H V D,
  factors n H V D -> (forall j, (j < n)%nat -> 0 <= D j) -> sum n D <= trace n H.
Proof.
  intros n H V D F nonneg. apply sum_le; intros j ?. apply (pivot_below_diagonal n H V D); assumption.
Qed.

Theorem pivots_reach_trace_when_diagonal : forall n H V D,
  positive_definite n H -> factors n H V D ->
  (sum n D = trace n H <-> forall i j, (i < n)%nat -> (j < n)%nat -> i <> j -> H i j = 0).
Proof.
  intros n H V D positive F. assert (above := proj1 (pivots_of_positive_definite n H V D F) positive).
  split.
  - intros equal i j ? ? other.
    assert (tight : forall k, (k < n)%nat -> H k k = D k).
    { intros k ?. assert (T : H k k - D k = 0); [|lra].
      apply (sum_zero_terms n (fun k => H k k - D k)); try assumption.
      - intros l ?. assert (D l <= H l l); [|lra].
        apply (pivot_below_diagonal n H V D); try assumption. intros; apply Rlt_le, above; assumption.
      - rewrite sum_minus. unfold trace in equal. lra. }
    assert (off : forall a k, (a < n)%nat -> (k < n)%nat -> a <> k -> V a k = 0).
    { intros a k ? ? apart.
      pose (term := fun l => V a l * D l * V a l).
      pose (rest := fun l => if (l =? a)%nat then 0 else term l).
      assert (nonneg : forall l, (l < n)%nat -> 0 <= rest l).
      { intros l ?. unfold rest, term. destruct (l =? a)%nat; [lra|].
        replace (V a l * D l * V a l) with (D l * Rsqr (V a l)) by (unfold Rsqr; ring).
        apply Rmult_le_pos; [apply Rlt_le, above; assumption|apply Rle_0_sqr]. }
      assert (zero : sum n rest = 0).
      { assert (C : sum n term = sum n rest + (term a - rest a)).
        { apply sum_change; [assumption|]. intros l ? ?. unfold rest.
          destruct (Nat.eqb_spec l a); [contradiction|reflexivity]. }
        assert (P : D a = sum n term)
          by (rewrite <- tight by assumption; apply (factors_product n H V D F); assumption).
        assert (term a = D a) by (unfold term; rewrite (factors_unit n H V D F) by assumption; ring).
        assert (rest a = 0) by (unfold rest; rewrite Nat.eqb_refl; reflexivity).
        lra. }
      assert (T := sum_zero_terms n rest nonneg zero k ltac:(assumption)).
      unfold rest, term in T. destruct (Nat.eqb_spec k a); [congruence|].
      assert (0 < D k) by (apply above; assumption).
      apply Rmult_integral in T. destruct T as [T|T]; [|assumption].
      apply Rmult_integral in T. destruct T as [T|T]; [assumption|lra]. }
    rewrite (factors_product n H V D F) by assumption. apply sum_zero; intros k ?.
    destruct (Nat.eq_dec i k) as [->|]; [rewrite (off j k) by auto|rewrite (off i k) by auto]; ring.
  - intros diagonal.
    assert (I : factors n H (fun i j => if (i =? j)%nat then 1 else 0) (fun j => H j j)).
    { split.
      - intros. rewrite Nat.eqb_refl. reflexivity.
      - intros i j ?. destruct (Nat.eqb_spec i j); [lia|reflexivity].
      - intros i j ? ?. rewrite (sum_only n _ i); [|assumption|].
        + rewrite Nat.eqb_refl. destruct (Nat.eqb_spec j i) as [->|]; [ring|]. rewrite diagonal by auto. ring.
        + intros k ? ?. destruct (Nat.eqb_spec i k); [congruence|ring]. }
    destruct (factors_are_unique n H _ _ V D I F) as [_ same].
    + intros j inside. apply Rgt_not_eq, above, inside.
    + unfold trace. symmetry. apply sum_ext, same.
Qed.

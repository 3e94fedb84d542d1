(* The step is the exact minimiser of what remains.

   Columns before j are rounded, the others are free reals. Among all such rows the loss is least for the
   relaxed row, in which every free column keeps its working value; its loss is what the sweep has added
   up so far. With D_j > 0 no other row reaches it. So the next column's target, work_j, is the j-th
   entry of the best continuation, and rounding it to the nearest grid point is the best one step can do. *)

From Coq Require Import Reals Lra Lia Arith.
From Assay Require Import FiniteSums Quadratic Sweep LossIdentity Factors.
Open Scope R_scope.

(* The sweep that is told the weights before column j and rounds nothing from there on. *)
Definition relaxed (n : nat) (V : nat -> nat -> R) (w q : nat -> R) (j : nat) : nat -> R :=
  decoded (sweep V (fun k x => if (k <? j)%nat then q k else x) w n).

Definition agree (j : nat) (x q : nat -> R) : Prop := forall k, (k < j)%nat -> x k = q k.

(* What the sweep has added up before column j. *)
Definition spent (V : nat -> nat -> R) (D w q : nat -> R) (j : nat) : R :=
  \sum_(k < j) (D k * (work V w q k - q k) ^ 2).

Lemma relaxed_agrees : forall n V w q j, (j <= n)%nat -> agree j (relaxed n V w q j) q.
Proof.
  intros n V w q j below k before. unfold relaxed. rewrite decoded_is_final by lia.
  rewrite (proj2 (Nat.ltb_lt k j)) by assumption. reflexivity.
Qed.

Lemma relaxed_tail : forall n V w q j k,
  (j <= k < n)%nat -> relaxed n V w q j k = work V w (relaxed n V w q j) k.
Proof.
  intros n V w q j k free. unfold relaxed.
  rewrite (sweep_is_the_recursion V (fun k x => if (k <? j)%nat then q k else x) w n k) at 1 by lia.
  rewrite (proj2 (Nat.ltb_ge k j)) by lia. reflexivity.
Qed.

Lemma spent_ext : forall V D w x q j, agree j x q -> spent V D w x j = spent V D w q j.
Proof.
  intros V D w x q j same. apply sum_ext; intros k ?.
  rewrite (work_ext V w x q k), (same k) by (intros; try apply same; lia). reflexivity.
Qed.

Lemma spent_next : forall V D w q j, spent V D w q (S j) = spent V D w q j + D j * (work V w q j - q j) ^ 2.
Proof. reflexivity. Qed.

(* The next column's target is the relaxed row's entry; further entries differ from the working values,
   because each relaxed entry feeds the ones after it. *)
Theorem next_target_is_relaxed : forall n V w q j, (j < n)%nat -> relaxed n V w q j j = work V w q j.
Proof.
  intros n V w q j inside. rewrite relaxed_tail by lia. apply work_ext, relaxed_agrees. lia.
Qed.

Theorem relaxed_loss : forall n H V D w q j,
  factors n H V D -> (j <= n)%nat ->
  quadratic n H (fun k => w k - relaxed n V w q j k) = spent V D w q j.
Proof.
  intros n H V D w q j F below. rewrite (loss_identity n H V D) by assumption.
  rewrite (sum_cut j) by (try assumption; intros k ?; rewrite <- relaxed_tail by lia; ring).
  apply spent_ext, relaxed_agrees, below.
Qed.

(* No continuation costs less than what is already spent. *)
Theorem step_lower_bound : forall n H V D w q x j,
  factors n H V D -> (forall k, (k < n)%nat -> 0 <= D k) -> (j <= n)%nat -> agree j x q ->
  spent V D w q j <= quadratic n H (fun k => w k - x k).
Proof.
  intros n H V D w q x j F nonneg below same. rewrite <- (spent_ext V D w x q j same), (loss_identity n H V D)
    by assumption.
  apply sum_prefix_le; [assumption|]. intros. apply Rmult_le_pos; [apply nonneg; lia|apply pow2_ge_0].
Qed.

(* The relaxed row is the one minimiser. *)
Theorem step_is_the_exact_minimiser : forall n H V D w q j,
  positive_definite n H -> factors n H V D -> (j <= n)%nat ->
  let best := relaxed n V w q j in
  agree j best q /\
  quadratic n H (fun k => w k - best k) = spent V D w q j /\
  forall x, agree j x q ->
    quadratic n H (fun k => w k - best k) <= quadratic n H (fun k => w k - x k) /\
    (quadratic n H (fun k => w k - x k) = quadratic n H (fun k => w k - best k) ->
     forall k, (k < n)%nat -> x k = best k).
Proof.
  intros n H V D w q j positive F below best.
  assert (above := proj1 (pivots_of_positive_definite n H V D F) positive).
  assert (value : quadratic n H (fun k => w k - best k) = spent V D w q j)
    by (apply relaxed_loss; assumption).
  split; [apply relaxed_agrees; assumption|]. split; [assumption|]. intros x same. rewrite value. split.
  - apply step_lower_bound; try assumption. intros; apply Rlt_le, above; assumption.
  - intros reached.
    (* Beyond the prefix every squared gap of x must vanish, so x satisfies the relaxed recursion. *)
    assert (rest : forall k, (j <= k < n)%nat -> x k = work V w x k).
    { rewrite (loss_identity n H V D), <- (spent_ext V D w x q j same) in reached by assumption.
      intros k free. pose (gap := fun k => D k * (work V w x k - x k) ^ 2).
      assert (T : gap k = 0).
      { apply (sum_tail_zero j n gap); try assumption. intros i ?. unfold gap.
        apply Rmult_le_pos; [apply Rlt_le, above; lia|apply pow2_ge_0]. }
      assert (0 < D k) by (apply above; lia). unfold gap in T. simpl in T. rewrite Rmult_1_r in T.
      apply Rmult_integral in T. destruct T as [T|T]; [lra|]. apply Rmult_integral in T. lra. }
    apply recursion_is_unique. intros k ?.
    destruct (Nat.ltb_spec k j); [apply same; assumption|apply rest; lia].
Qed.

(* The same row by its normal equations: over the free columns (w - x) H = 0, that is, the free part of x
   is w_F + (w - q)_done H_done,F H_FF^-1. Positive definiteness is not needed. *)
Theorem relaxed_normal_equations : forall n H V D w q j f,
  factors n H V D -> (j <= f < n)%nat ->
  \sum_(i < n) ((w i - relaxed n V w q j i) * H i f) = 0.
Proof.
  intros n H V D w q j f F free. set (x := relaxed n V w q j).
  transitivity (\sum_(k < n) (D k * V f k * \sum_(i < n) ((w i - x i) * V i k))).
  - transitivity (\sum_(i < n) \sum_(k < n) (D k * V f k * ((w i - x i) * V i k))).
    + apply sum_ext; intros i ?. rewrite (factors_product _ _ _ _ F) by lia. rewrite <- sum_scale.
      apply sum_ext; intros k _. ring.
    + rewrite sum_exchange. apply sum_ext; intros k _. apply sum_scale.
  - apply sum_zero; intros k ?. rewrite (coordinate n H V D) by assumption.
    destruct (Nat.lt_ge_cases k f).
    + rewrite (factors_upper _ _ _ _ F) by lia. ring.
    + unfold x. rewrite <- relaxed_tail by lia. ring.
Qed.

(* Q goes to a grid point, and to one that no other grid point is nearer than; ties as it likes. *)
Definition nearest (grid : R -> Prop) (Q : R -> R) : Prop :=
  forall x, grid (Q x) /\ forall g, grid g -> Rabs (x - Q x) <= Rabs (x - g).

Lemma nearest_square : forall grid Q x g, nearest grid Q -> grid g -> (x - Q x) ^ 2 <= (x - g) ^ 2.
Proof.
  intros grid Q x g near on. rewrite <- !Rsqr_pow2. apply Rsqr_le_abs_1. apply near, on.
Qed.

(* Given what stands before column j, the nearest grid point costs least once the columns after j are
   relaxed. *)
Theorem greedy_rounding : forall n H V D w q j grid Q x,
  factors n H V D -> (j < n)%nat -> 0 <= D j ->
  nearest grid Q -> q j = Q (work V w q j) -> agree j x q -> grid (x j) ->
  quadratic n H (fun k => w k - relaxed n V w q (S j) k)
  <= quadratic n H (fun k => w k - relaxed n V w x (S j) k).
Proof.
  intros n H V D w q j grid Q x F inside nonneg near chosen same on.
  rewrite !(relaxed_loss n H V D), !spent_next, (spent_ext V D w x q j same) by (try assumption; lia).
  apply Rplus_le_compat_l. rewrite (work_ext V w x q j same), chosen. apply Rmult_le_compat_l; [assumption|].
  apply (nearest_square grid); assumption.
Qed.
